//! Which statements of a large document may apply to a request, found without looking at them.
//!
//! A statement is spread over memory, and not to touch it is what makes a thousand of them cheap. Statements are
//! filed under their actions, and each has a [`Gate`]: a few numbers, side by side with those of its neighbours, that
//! say what a request must have for the statement to apply.
//!
//! INVARIANT: the index only leaves out statements that do not apply; it decides nothing.

use crate::condition::{Condition, Quantifier, Test};
use crate::hash::{BASIS, Beginnings, PART_BYTES, hash, hash_more, part_hash};
use crate::key::Key;
use crate::pattern::Pattern;
use crate::principal::{AwsName, Principal, PrincipalClause};
use crate::request::{ActionHashes, Facts, Found};
use crate::statement::{ActionPattern, Resources, Statement};

/// Up to here looking at every statement is as quick.
const SMALL: usize = 16;

/// The most bytes of a resource or a value that a gate compares.
const PREFIX_BYTES: usize = 96;

/// The most condition keys that gates of one document ask about.
const GATE_KEYS: usize = 8;

/// Which statements to look at.
#[derive(Debug)]
pub(crate) struct Index {
    count: usize,
    /// None for a small document.
    large: Option<Box<Large>>,
}

#[derive(Debug)]
struct Large {
    /// Sorted pairs of what an action hashes to and a statement.
    by_hash: Box<[(u64, u32)]>,
    /// Statements that may be about any service.
    any: Box<[u32]>,
    /// Of each statement.
    gates: Box<[Gate]>,
    /// The keys that gates ask about.
    keys: Vec<AskedKey>,
    /// The keys of the variables that gates put into the beginning of a resource.
    variables: Vec<Key>,
}

#[derive(Debug)]
struct AskedKey {
    key: Key,
    /// The longest beginning of its values that a gate compares.
    longest_bytes: usize,
}

/// What a request must have for a statement to apply.
#[derive(Debug, Clone, Copy)]
struct Gate {
    /// What the beginning of its resource hashes to.
    prefix: u64,
    /// A bit for each name of the principals; all bits where they cannot be told apart so.
    principals: u64,
    /// A bit for each value of a condition that asks for one of several texts.
    values: u64,
    /// How long the beginning of the resource is.
    prefix_bytes: u8,
    /// How much of the values is compared; nought for all of them.
    value_bytes: u8,
    /// The condition's key among the document's.
    key: Option<u8>,
    /// The key among the document's of the variable that stands behind the beginning of the resource.
    variable: Option<u8>,
    /// How much text stands behind that variable.
    after_bytes: u8,
    /// What that text hashes to.
    after: u64,
}

/// What a request has in a variable's place.
#[derive(Debug, Clone, Copy)]
enum Put {
    /// No value: nothing fits the pattern.
    Nothing,
    Text {
        hash: u64,
        bytes: usize,
    },
}

/// What stands in a resource behind its beginning.
struct Behind {
    variable: u8,
    after: u64,
    after_bytes: u8,
}

/// What gates ask of a request, worked out once for all documents.
#[derive(Debug)]
pub(crate) struct Probe {
    /// What the beginnings of the resource hash to, by their length.
    prefixes: [u64; PREFIX_BYTES + 1],
    resource_bytes: usize,
    /// For the hashes of what stands further on in it.
    beginnings: Beginnings,
    principals: u64,
}

/// A bit for each value that a request has of a key.
#[derive(Debug, Clone, Copy)]
struct ValueBits {
    whole: u64,
    /// Of their beginnings, by length.
    beginnings: [u64; PREFIX_BYTES + 1],
}

/// What an action pattern is filed under.
enum Shelf {
    Any,
    Hash(u64),
}

impl Index {
    pub(crate) fn new(statements: &[Statement]) -> Self {
        let large = (statements.len() > SMALL).then(|| Box::new(Large::new(statements)));
        Self { count: statements.len(), large }
    }

    /// Hands on the numbers of the statements to look at, in no order; one may come twice.
    pub(crate) fn candidates(
        &self,
        facts: &Facts<'_>,
        probe: &mut Option<Probe>,
        mut look: impl FnMut(usize),
    ) {
        match &self.large {
            None => (0..self.count).for_each(look),
            Some(large) => {
                let probe = probe.get_or_insert_with(|| Probe::new(facts));
                let values = large.request_values(facts);
                let put = large.put(facts);
                let action = facts.request.action.hashes();
                let filed = large.under(action.whole).iter().chain(large.under(action.service));
                let numbers =
                    filed.map(|(_, number)| number).chain(&large.any).map(|number| *number as usize);
                for number in numbers {
                    if large.gates[number].lets(probe, &values, &put) {
                        look(number);
                    }
                }
            }
        }
    }
}

impl Large {
    fn new(statements: &[Statement]) -> Self {
        let (mut by_hash, mut any) = (Vec::new(), Vec::new());
        let (mut keys, mut variables) = (Vec::new(), Vec::new());
        // A document is far too short for more statements than 32 bits count.
        for (number, statement) in (0_u32..).zip(statements) {
            let shelves: Vec<Shelf> = if statement.actions.negated {
                vec![Shelf::Any]
            } else {
                statement.actions.patterns.iter().map(shelf).collect()
            };
            if shelves.iter().any(|shelf| matches!(shelf, Shelf::Any)) {
                any.push(number);
                continue;
            }
            by_hash.extend(shelves.into_iter().filter_map(|shelf| match shelf {
                Shelf::Any => None,
                Shelf::Hash(hash) => Some((hash, number)),
            }));
        }
        by_hash.sort_unstable();
        by_hash.dedup();
        let gates =
            statements.iter().map(|statement| Gate::of(statement, &mut keys, &mut variables)).collect();
        Self { by_hash: by_hash.into(), any: any.into(), gates, keys, variables }
    }

    fn under(&self, wanted: u64) -> &[(u64, u32)] {
        let start = self.by_hash.partition_point(|(hash, _)| *hash < wanted);
        let found = &self.by_hash[start..];
        let end = found.partition_point(|(hash, _)| *hash == wanted);
        &found[..end]
    }

    /// What the request has in the place of each variable.
    fn put(&self, facts: &Facts<'_>) -> [Put; GATE_KEYS] {
        let mut all = [Put::Nothing; GATE_KEYS];
        for (put, key) in all.iter_mut().zip(&self.variables) {
            // As the pattern itself takes it: a multivalued key cannot be put into a text.
            let found = facts.lookup(key).filter(|found| !found.multivalued());
            if let Some(value) = found.and_then(|found| found.values().next()) {
                *put =
                    value.with_text(|text| Put::Text { hash: part_hash(text.as_bytes()), bytes: text.len() });
            }
        }
        all
    }

    /// What the request has of each of the document's keys.
    fn request_values(&self, facts: &Facts<'_>) -> [ValueBits; GATE_KEYS] {
        let mut all = [ValueBits { whole: 0, beginnings: [0; PREFIX_BYTES + 1] }; GATE_KEYS];
        for (bits, asked) in all.iter_mut().zip(&self.keys) {
            for value in facts.lookup(&asked.key).iter().flat_map(Found::values) {
                value.with_text(|text| bits.add(text, asked.longest_bytes));
            }
        }
        all
    }
}

impl ValueBits {
    fn add(&mut self, text: &str, longest_bytes: usize) {
        self.whole |= bit(text);
        let mut running = BASIS;
        for (bits, byte) in self.beginnings[1..=longest_bytes].iter_mut().zip(text.bytes()) {
            running = hash_more(running, byte);
            *bits |= bit_of(running);
        }
    }
}

fn shelf(pattern: &ActionPattern) -> Shelf {
    let lower_case = pattern.text.to_ascii_lowercase();
    match lower_case.split_once(':') {
        None => Shelf::Any,
        Some((service, _)) if service.contains(['*', '?']) => Shelf::Any,
        Some((_, name)) if name.contains(['*', '?']) => Shelf::Hash(ActionHashes::of(&lower_case).service),
        Some(_) => Shelf::Hash(ActionHashes::of(&lower_case).whole),
    }
}

/// One of 64 bits.
fn bit(text: &str) -> u64 {
    bit_of(hash(text))
}

fn bit_of(hash: u64) -> u64 {
    1 << ((hash ^ (hash >> 32)) & 63)
}

/// What a gate asks of the values of a key.
struct Asked {
    key: u8,
    values: u64,
    value_bytes: u8,
}

impl Gate {
    fn of(statement: &Statement, keys: &mut Vec<AskedKey>, variables: &mut Vec<Key>) -> Self {
        let prefix = common_prefix(&statement.resources);
        let behind = Behind::of(&statement.resources, prefix, variables);
        let asked = statement.conditions.iter().find_map(|condition| Asked::of(condition, keys));
        Self {
            prefix: hash(prefix),
            prefix_bytes: u8::try_from(prefix.len()).unwrap_or(0),
            principals: statement.principals.as_ref().map_or(u64::MAX, principal_bits),
            values: asked.as_ref().map_or(0, |asked| asked.values),
            value_bytes: asked.as_ref().map_or(0, |asked| asked.value_bytes),
            key: asked.map(|asked| asked.key),
            variable: behind.as_ref().map(|behind| behind.variable),
            after_bytes: behind.as_ref().map_or(0, |behind| behind.after_bytes),
            after: behind.as_ref().map_or(0, |behind| behind.after),
        }
    }

    /// Whether the variable's value stands in the resource behind the gate's beginning, and then what stands behind the
    /// variable. What is beyond the hashes is let through.
    fn lets_behind(&self, variable: u8, probe: &Probe, put: &[Put; GATE_KEYS]) -> bool {
        let Put::Text { hash, bytes } = put[usize::from(variable)] else { return false };
        let from = usize::from(self.prefix_bytes);
        let after_bytes = usize::from(self.after_bytes);
        let end = from.saturating_add(bytes).saturating_add(after_bytes);
        if end > probe.resource_bytes {
            return false;
        }
        end > PART_BYTES
            || (probe.beginnings.part(from + bytes, after_bytes) == Some(self.after)
                && probe.beginnings.part(from, bytes) == Some(hash))
    }

    fn lets(&self, probe: &Probe, values: &[ValueBits; GATE_KEYS], put: &[Put; GATE_KEYS]) -> bool {
        let length = usize::from(self.prefix_bytes);
        let resource = length <= probe.resource_bytes && probe.prefixes[length] == self.prefix;
        resource
            && self.principals & probe.principals != 0
            && self.key.is_none_or(|key| {
                let has = &values[usize::from(key)];
                let bits = match self.value_bytes {
                    0 => has.whole,
                    length => has.beginnings[usize::from(length)],
                };
                self.values & bits != 0
            })
            && self.variable.is_none_or(|variable| self.lets_behind(variable, probe, put))
    }
}

impl Behind {
    /// Of a statement about one resource whose beginning is followed by a variable.
    fn of(resources: &Resources, prefix: &str, variables: &mut Vec<Key>) -> Option<Self> {
        let [resource] = resources.patterns.as_slice() else { return None };
        let (before_bytes, key, after) = resource.pattern.opening().filter(|_| !resources.negated)?;
        // A beginning that was cut short has something else behind it.
        if before_bytes != prefix.len() {
            return None;
        }
        let known = variables.iter().position(|known| known.lower_case() == key.lower_case());
        let number = match known {
            Some(number) => number,
            None if variables.len() < GATE_KEYS => {
                variables.push(key.clone());
                variables.len() - 1
            }
            None => return None,
        };
        let after = &after.as_bytes()[..after.len().min(PREFIX_BYTES)];
        let after_bytes = u8::try_from(after.len()).ok()?;
        Some(Self { variable: u8::try_from(number).ok()?, after: part_hash(after), after_bytes })
    }
}

impl Asked {
    fn of(condition: &Condition, keys: &mut Vec<AskedKey>) -> Option<Self> {
        let patterns = wanted_texts(condition)?;
        let is_plain = patterns.iter().all(|pattern| pattern.plain_text().is_some());
        let shortest = patterns.iter().map(|pattern| pattern.beginning().len()).min()?;
        // A wildcard that everything begins with tells nothing apart.
        let length = match (is_plain, shortest.min(PREFIX_BYTES)) {
            (true, _) => 0,
            (false, 0) => return None,
            (false, length) => length,
        };
        let values = patterns.iter().map(|pattern| {
            let bytes = pattern.beginning().as_bytes();
            let compared = if is_plain { bytes } else { &bytes[..length] };
            bit_of(compared.iter().copied().fold(BASIS, hash_more))
        });
        let values = values.fold(0, |bits, one| bits | one);
        let key = key_number(&condition.key, length, keys)?;
        Some(Self { key, values, value_bytes: u8::try_from(length).ok()? })
    }
}

/// The number of a key among those that are asked about; none where there are too many.
fn key_number(key: &Key, bytes: usize, keys: &mut Vec<AskedKey>) -> Option<u8> {
    let known = keys.iter().position(|known| known.key.lower_case() == key.lower_case());
    let number = match known {
        Some(number) => number,
        None if keys.len() < GATE_KEYS => {
            keys.push(AskedKey { key: key.clone(), longest_bytes: 0 });
            keys.len() - 1
        }
        None => return None,
    };
    let asked = &mut keys[number];
    asked.longest_bytes = asked.longest_bytes.max(bytes);
    u8::try_from(number).ok()
}

/// What a condition asks for one of: such a condition fails where the request has none of it.
fn wanted_texts(condition: &Condition) -> Option<&[Pattern]> {
    let needs_one = match condition.quantifier {
        None | Some(Quantifier::ForAnyValue) => !condition.negated && !condition.if_exists,
        Some(Quantifier::ForAllValues) => false,
    };
    match &condition.test {
        Test::Text(patterns) if needs_one => Some(patterns),
        Test::Text(_)
        | Test::TextIgnoringCase(_)
        | Test::Number(..)
        | Test::Instant(..)
        | Test::Bool(_)
        | Test::Binary(_)
        | Test::Network(_)
        | Test::Arn(_)
        | Test::Null(_) => None,
    }
}

/// With what every resource begins that the statement is about.
fn common_prefix(resources: &Resources) -> &str {
    if resources.negated || resources.implied {
        return "";
    }
    let literals = resources.patterns.iter().map(|resource| {
        let text = resource.text.as_str();
        // In the older version of the language a dollar sign is text, and a shorter beginning does no harm.
        &text[..text.find(['*', '?', '$']).unwrap_or(text.len())]
    });
    let common = literals.reduce(|left, right| {
        let same = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
        &left[..floor(left, same)]
    });
    let common = common.unwrap_or_default();
    &common[..floor(common, PREFIX_BYTES)]
}

/// The last boundary of characters that is not beyond so many bytes.
fn floor(text: &str, bytes: usize) -> usize {
    (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn principal_bits(clause: &PrincipalClause) -> u64 {
    let by_bits = !clause.negated && !clause.anyone && clause.canonical_users.is_empty();
    if !by_bits || clause.services.iter().any(|name| name == "*") {
        return u64::MAX;
    }
    let names = clause.services.iter().chain(&clause.providers).map(|name| bit(name));
    let aws = clause.aws.iter().map(|name| match name {
        AwsName::Account(account) => bit(account.as_str()),
        AwsName::Arn(arn) => bit(arn),
        // Known by the context, not by the caller's name.
        AwsName::UniqueId(_) => u64::MAX,
    });
    names.chain(aws).fold(0, |bits, one| bits | one)
}

impl Probe {
    fn new(facts: &Facts<'_>) -> Self {
        let resource = facts.request.resource.as_bytes();
        let mut prefixes = [BASIS; PREFIX_BYTES + 1];
        let mut running = BASIS;
        for (prefix, byte) in prefixes[1..].iter_mut().zip(resource) {
            running = hash_more(running, *byte);
            *prefix = running;
        }
        let principal = &facts.request.principal;
        let account = principal.account().map_or(0, bit);
        let own = match principal {
            // All bits of a clause that cannot be told apart are set, so one bit is enough to meet it.
            Principal::Anonymous => 1,
            Principal::Root { .. } => 0,
            Principal::User { arn } => bit(arn.as_str()),
            Principal::AssumedRole { role_arn: arn, session_arn }
            | Principal::FederatedUser { session_arn, issuer_arn: arn } => {
                bit(arn.as_str()) | bit(session_arn.as_str())
            }
            Principal::Federated { provider: name } | Principal::Service { name } => bit(name),
        };
        let beginnings = Beginnings::of(resource);
        Self { prefixes, resource_bytes: resource.len(), beginnings, principals: account | own }
    }
}
