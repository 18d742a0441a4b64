//! What an expression names: the attributes that policies are about, and the value of a partition key.
//!
//! Only that is read here; whether an expression is a good one the engine says. Words are told apart exactly as the
//! engine does: an attribute that it would read and that is not seen here would be hidden from policies.
//! Source: "Expression attribute names" and "Key condition expressions for the Query operation" in the developer guide.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// A word or sign of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'e> {
    /// An attribute's name, a function's or a keyword, as it stands there.
    Word(&'e str),
    /// `#name`.
    NameRef(&'e str),
    /// `:value`.
    ValueRef(&'e str),
    /// Anything else.
    Sign(char),
}

/// Words that are never attributes: reserved ones, which attributes have to be named around with `#`.
const KEYWORDS: [&str; 9] = ["AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"];

fn tokens(expression: &str) -> Vec<Token<'_>> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let length = after.find(|letter| !is_part(letter)).unwrap_or(after.len());
        let end = first.len_utf8() + length;
        match first {
            '#' => tokens.push(Token::NameRef(&rest[..end])),
            ':' => tokens.push(Token::ValueRef(&rest[..end])),
            letter if letter.is_ascii_alphabetic() || letter == '_' => tokens.push(Token::Word(&rest[..end])),
            // A number stands in brackets alone, and is no attribute.
            digit if digit.is_ascii_digit() => tokens.push(Token::Sign(digit)),
            sign => {
                if !sign.is_ascii_whitespace() {
                    tokens.push(Token::Sign(sign));
                }
                rest = after;
                continue;
            }
        }
        rest = &rest[end..];
    }
    tokens
}

/// An expression with what its names and values stand for.
pub(super) struct Expression<'e> {
    tokens: Vec<Token<'e>>,
    names: Option<&'e Map<String, Json>>,
}

impl<'e> Expression<'e> {
    /// This text, with the request's `ExpressionAttributeNames`.
    pub(super) fn new(text: &'e str, names: Option<&'e Map<String, Json>>) -> Self {
        Self { tokens: tokens(text), names }
    }

    /// The attribute at this place, if a top-level one stands there.
    fn attribute(&self, at: usize) -> Option<&'e str> {
        let nested = at > 0 && self.tokens.get(at - 1) == Some(&Token::Sign('.'));
        match self.tokens.get(at)? {
            _ if nested => None,
            Token::Word(word) => {
                let keyword = KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word));
                let function = self.tokens.get(at + 1) == Some(&Token::Sign('('));
                (!keyword && !function).then_some(*word)
            }
            Token::NameRef(name) => self.names?.get(*name)?.as_str(),
            Token::ValueRef(_) | Token::Sign(_) => None,
        }
    }

    /// The top-level attributes that it names.
    pub(super) fn attributes(&self, into: &mut BTreeSet<String>) {
        let named = (0..self.tokens.len()).filter_map(|at| self.attribute(at));
        into.extend(named.map(str::to_owned));
    }

    /// The values that it says `attribute` is equal to, by their names: `:v` in `key = :v` and in `:v = key`.
    pub(super) fn equal_to(&self, attribute: &str) -> Vec<&'e str> {
        let is_attribute = |at: usize| {
            // Part of a longer path is not the key.
            let whole = !matches!(self.tokens.get(at + 1), Some(Token::Sign('.' | '[')));
            whole && self.attribute(at) == Some(attribute)
        };
        let value = |at: usize| match self.tokens.get(at) {
            Some(Token::ValueRef(name)) => Some(*name),
            Some(Token::Word(_) | Token::NameRef(_) | Token::Sign(_)) | None => None,
        };
        let equals = |at: usize| {
            let before = at.checked_sub(1)?;
            // `<=` and `>=` are not equality.
            if !matches!(self.tokens.get(at), Some(Token::Sign('='))) {
                return None;
            }
            match (is_attribute(before), is_attribute(at + 1)) {
                (true, _) => value(at + 1),
                (false, true) => value(before),
                (false, false) => None,
            }
        };
        (0..self.tokens.len()).filter_map(equals).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(expression: &str) -> String {
        let names = serde_json::json!({ "#a": "alpha", "#n": "name with spaces" });
        let mut into = BTreeSet::new();
        Expression::new(expression, names.as_object()).attributes(&mut into);
        into.into_iter().collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_attributes_of_an_expression_are_its_top_level_ones() {
        for (expression, attributes) in [
            ("id, title", "id,title"),
            ("#a.#n[0].x, #n", "alpha,name with spaces"),
            ("info.rating[12]", "info"),
            ("SET a = if_not_exists(b, :zero) + :one REMOVE c ADD d :one", "a,b,c,d"),
            ("attribute_exists(x) AND size (y) > :n OR NOT contains(z, :v)", "x,y,z"),
            ("a BETWEEN :x AND b", "a,b"),
            ("x IN (:a, :b)", "x"),
            ("SET l = list_append(l, :more)", "l"),
            ("_under_score=:v", "_under_score"),
            // What the engine refuses may be read as anything, but not be an end of it.
            ("é = :v", ""),
            ("#missing = :v", ""),
        ] {
            assert_eq!(named(expression), attributes, "{expression}");
        }
    }

    proptest::proptest! {
        /// Whatever stands around it, an attribute is seen, and nothing makes the reader fail.
        #[test]
        fn an_attribute_is_seen_among_anything(before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let mut into = BTreeSet::new();
            Expression::new(&before, None).attributes(&mut into);
            let _ = Expression::new(&before, None).equal_to("id");
            let text = format!("{before} , wanted , {after}");
            Expression::new(&text, None).attributes(&mut into);
            proptest::prop_assert!(into.contains("wanted"), "{text}");
        }
    }

    #[test]
    fn the_value_of_a_key_is_found() {
        let names = serde_json::json!({ "#k": "id", "#o": "other" });
        let values = |expression| Expression::new(expression, names.as_object()).equal_to("id").join(",");
        for (expression, found) in [
            ("id = :v", ":v"),
            ("#k=:v AND begins_with(sort, :p)", ":v"),
            ("(sort > :s) AND (id = :v)", ":v"),
            (":v = #k", ":v"),
            ("sort = :s AND id = :v", ":v"),
            ("id = :a AND id = :b", ":a,:b"),
            ("id >= :v", ""),
            (":v <= id", ""),
            ("#o = :v", ""),
            ("map.id = :v", ""),
            ("id.x = :v", ""),
            ("other = :v AND sort = :id", ""),
        ] {
            assert_eq!(values(expression), found, "{expression}");
        }
    }
}
