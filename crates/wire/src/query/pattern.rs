//! The small part of regular expressions that AWS's model uses for names: character classes, `*`, `+`, `?`, groups
//! and alternatives, matched against a whole value.
//!
//! Every pattern of the generated tables is parsed by a test, so one that this cannot read fails there and not in a
//! request. Matching follows all alternatives at once (a set of positions in the value), so no value makes it slow.

use std::collections::BTreeSet;

/// Whether the whole value matches. A pattern that cannot be read matches nothing.
pub fn matches(pattern: &str, value: &str) -> bool {
    let Some(node) = parse(pattern) else { return false };
    let letters: Vec<char> = value.chars().collect();
    node.follow(&letters, BTreeSet::from([0])).contains(&letters.len())
}

enum Node {
    /// One character of a class: ranges, or categories of Unicode.
    Class(Vec<Part>),
    Sequence(Vec<Node>),
    Alternatives(Vec<Node>),
    Repeated {
        node: Box<Node>,
        at_least: usize,
    },
    Optional(Box<Node>),
}

enum Part {
    Range(char, char),
    Letter,
    Number,
    Separator,
}

impl Part {
    fn has(&self, letter: char) -> bool {
        match self {
            Self::Range(from, to) => (*from..=*to).contains(&letter),
            Self::Letter => letter.is_alphabetic(),
            Self::Number => letter.is_numeric(),
            // Unicode's separators are its white space without the ASCII controls and NEL.
            Self::Separator => letter.is_whitespace() && !letter.is_control(),
        }
    }
}

impl Node {
    /// Every position that can be reached from any of `starts`.
    fn follow(&self, letters: &[char], starts: BTreeSet<usize>) -> BTreeSet<usize> {
        match self {
            Self::Class(parts) => starts
                .into_iter()
                .filter(|at| {
                    letters.get(*at).is_some_and(|letter| parts.iter().any(|part| part.has(*letter)))
                })
                .map(|at| at + 1)
                .collect(),
            Self::Sequence(nodes) => nodes.iter().fold(starts, |reached, node| node.follow(letters, reached)),
            Self::Alternatives(nodes) => {
                nodes.iter().flat_map(|node| node.follow(letters, starts.clone())).collect()
            }
            Self::Optional(node) => {
                let mut reached = starts.clone();
                reached.extend(node.follow(letters, starts));
                reached
            }
            Self::Repeated { node, at_least } => {
                let mut reached = (0..*at_least).fold(starts, |reached, _| node.follow(letters, reached));
                let mut newest = reached.clone();
                while !newest.is_empty() {
                    newest = node.follow(letters, newest).difference(&reached).copied().collect();
                    reached.extend(&newest);
                }
                reached
            }
        }
    }
}

fn parse(pattern: &str) -> Option<Node> {
    // The whole value is matched in any case, so anchors around the whole pattern say nothing more.
    let pattern = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap_or(pattern);
    let mut parser = Parser { letters: pattern.chars().collect(), at: 0 };
    let node = parser.alternatives()?;
    (parser.at == parser.letters.len()).then_some(node)
}

struct Parser {
    letters: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(letter)
    }

    fn take(&mut self, letter: char) -> bool {
        let taken = self.peek() == Some(letter);
        self.at += usize::from(taken);
        taken
    }

    fn alternatives(&mut self) -> Option<Node> {
        let mut nodes = vec![self.sequence()?];
        while self.take('|') {
            nodes.push(self.sequence()?);
        }
        Some(Node::Alternatives(nodes))
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while self.peek().is_some_and(|letter| letter != '|' && letter != ')') {
            let node = self.atom()?;
            nodes.push(self.repeated(node));
        }
        Some(Node::Sequence(nodes))
    }

    fn repeated(&mut self, node: Node) -> Node {
        if self.take('*') {
            Node::Repeated { node: Box::new(node), at_least: 0 }
        } else if self.take('+') {
            Node::Repeated { node: Box::new(node), at_least: 1 }
        } else if self.take('?') {
            Node::Optional(Box::new(node))
        } else {
            node
        }
    }

    fn atom(&mut self) -> Option<Node> {
        match self.next()? {
            '(' => {
                let inner = self.alternatives()?;
                self.take(')').then_some(inner)
            }
            '[' => self.class(),
            '\\' => self.escape().map(Node::Class),
            '^' | '$' | '{' | '}' | '?' | '.' | '*' | '+' | ']' => None,
            letter => Some(Node::Class(vec![Part::Range(letter, letter)])),
        }
    }

    fn class(&mut self) -> Option<Node> {
        let mut parts = Vec::new();
        while !self.take(']') {
            let mut from = match self.next()? {
                '\\' => self.escape()?,
                '^' if parts.is_empty() => return None,
                letter => vec![Part::Range(letter, letter)],
            };
            let ranged =
                self.peek() == Some('-') && self.letters.get(self.at + 1).is_some_and(|next| *next != ']');
            if let ([Part::Range(first, last)], true) = (from.as_mut_slice(), ranged)
                && first == last
            {
                self.at += 1;
                *last = self.range_end()?;
            }
            parts.append(&mut from);
        }
        Some(Node::Class(parts))
    }

    fn range_end(&mut self) -> Option<char> {
        match self.next()? {
            '\\' => match self.escape()?.as_slice() {
                [Part::Range(first, last)] if first == last => Some(*last),
                _ => None,
            },
            letter => Some(letter),
        }
    }

    fn escape(&mut self) -> Option<Vec<Part>> {
        Some(match self.next()? {
            'w' => vec![
                Part::Range('a', 'z'),
                Part::Range('A', 'Z'),
                Part::Range('0', '9'),
                Part::Range('_', '_'),
            ],
            'd' => vec![Part::Range('0', '9')],
            'u' => {
                let digits: String = self.letters.get(self.at..self.at + 4)?.iter().collect();
                self.at += 4;
                let code = u32::from_str_radix(&digits, 16).ok()?;
                // Rust has no surrogates: a range that touches them ends before and starts behind.
                let letter =
                    char::from_u32(code).unwrap_or(if code < 0xdc00 { '\u{d7ff}' } else { '\u{e000}' });
                vec![Part::Range(letter, letter)]
            }
            'p' => {
                let category: String = self.letters.get(self.at..self.at + 3)?.iter().collect();
                self.at += 3;
                match category.as_str() {
                    "{L}" => vec![Part::Letter],
                    "{N}" => vec![Part::Number],
                    "{Z}" => vec![Part::Separator],
                    _ => return None,
                }
            }
            letter if !letter.is_alphanumeric() => vec![Part::Range(letter, letter)],
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, parse};
    use crate::shape::{Kind, StructureShape};

    fn patterns(shape: &StructureShape, found: &mut Vec<&'static str>) {
        for member in shape.members {
            let mut kind = member.kind;
            while let Kind::List(list) = kind {
                kind = list.item;
            }
            match kind {
                Kind::Text(text) => found.extend(text.pattern),
                Kind::Structure(shape) => patterns(shape, found),
                Kind::Boolean
                | Kind::Integer(_)
                | Kind::Long(_)
                | Kind::Double
                | Kind::Timestamp
                | Kind::Blob
                | Kind::List(_) => {}
            }
        }
    }

    #[test]
    fn every_pattern_of_the_tables_can_be_read() {
        let mut found = Vec::new();
        for operation in crate::SERVICES.iter().flat_map(|service| service.operations) {
            patterns(operation.input, &mut found);
        }
        assert!(found.len() > 50, "{}", found.len());
        for pattern in found {
            assert!(parse(pattern).is_some(), "{pattern}");
        }
    }

    #[test]
    fn names_and_paths() {
        let name = r"[\w+=,.@-]+";
        let path = r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)";
        let policy_path = r"((/[A-Za-z0-9\.,\+@=_-]+)*)/";
        let tag = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*";
        for (pattern, value, expected) in [
            (name, "reader-1@x", true),
            (name, "", false),
            (name, "a b", false),
            (name, "a\u{e9}", false),
            (path, "/", true),
            (path, "/a/b/", true),
            (path, "/a", false),
            (path, "//", false),
            (policy_path, "/", true),
            (policy_path, "/a/b/", true),
            (policy_path, "/a//", false),
            (tag, "", true),
            (tag, "K\u{f6}ln 1/2", true),
            (tag, "a\tb", false),
            (r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?", "v1", true),
            (r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?", "v1.a", true),
            (r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?", "v0", false),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value:?}");
        }
    }
}
