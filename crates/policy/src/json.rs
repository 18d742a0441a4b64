//! JSON as policies need it: strict (RFC 8259), keys in order, a repeated key refused, nesting bounded, and every
//! value with its place.
//!
//! A general reader keeps the last of two equal keys; in a policy the reader and the evaluator could then see
//! different documents. It also rounds numbers, which conditions compare exactly.

use std::collections::BTreeSet;

use crate::error::ParseError;
use crate::place::Place;

/// A policy needs seven levels (document, statements, statement, condition, operator, key, values).
const DEEPEST: usize = 16;

/// A value, where it begins and where what comes behind it does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) end: Place,
    pub(crate) json: Json,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// The number as text, because conditions compare decimals exactly.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key of an object with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: text, place: Place::START };
        let node = reader.value(DEEPEST)?;
        reader.skip_white_space();
        match reader.peek() {
            None => Ok(node),
            Some(_) => Err(reader.expected("the end of the document")),
        }
    }
}

impl Json {
    /// What this is, for an error message.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Of the first character of the rest.
    place: Place,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn step(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next()?;
        self.rest = characters.as_str();
        self.place = self.place.after(character);
        Some(character)
    }

    fn step_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        if self.peek().is_some_and(wanted) { self.step() } else { None }
    }

    fn skip_white_space(&mut self) {
        while self.step_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
    }

    fn wrong(&self, message: String) -> ParseError {
        ParseError::Json { place: self.place, message }
    }

    /// Something else than what stands here was expected.
    fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            None => "the end of the document".to_owned(),
            Some(character) if character.is_control() || character == '\u{feff}' => {
                format!("character U+{:04X}", u32::from(character))
            }
            Some(character) => format!("`{character}`"),
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    fn value(&mut self, levels: usize) -> Result<Node, ParseError> {
        self.skip_white_space();
        let place = self.place;
        let json = match self.peek() {
            Some('{') => Json::Object(self.object(self.below(levels)?)?),
            Some('[') => Json::List(self.list(self.below(levels)?)?),
            Some('"') => Json::Text(self.string()?),
            Some('-' | '0'..='9') => Json::Number(self.number()?),
            Some('t') => self.word("true", Json::Bool(true))?,
            Some('f') => self.word("false", Json::Bool(false))?,
            Some('n') => self.word("null", Json::Null)?,
            Some(_) | None => return Err(self.expected("a value")),
        };
        Ok(Node { place, end: self.place, json })
    }

    /// How many levels may be opened inside.
    fn below(&self, levels: usize) -> Result<usize, ParseError> {
        levels.checked_sub(1).ok_or_else(|| self.wrong(format!("more than {DEEPEST} levels deep")))
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ParseError> {
        for letter in word.chars() {
            self.step_if(|c| c == letter).ok_or_else(|| self.expected(&format!("`{word}`")))?;
        }
        Ok(value)
    }

    fn list(&mut self, levels: usize) -> Result<Vec<Node>, ParseError> {
        self.step();
        let mut items = Vec::new();
        self.skip_white_space();
        if self.step_if(|c| c == ']').is_some() {
            return Ok(items);
        }
        loop {
            items.push(self.value(levels)?);
            self.skip_white_space();
            match self.step_if(|c| matches!(c, ',' | ']')) {
                Some(',') => {}
                Some(_) => return Ok(items),
                None => return Err(self.expected("`,` or `]`")),
            }
        }
    }

    fn object(&mut self, levels: usize) -> Result<Vec<Member>, ParseError> {
        self.step();
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        self.skip_white_space();
        if self.step_if(|c| c == '}').is_some() {
            return Ok(members);
        }
        loop {
            let member = self.member(levels)?;
            if !seen.insert(member.name.clone()) {
                let message = format!("key `{}` appears twice in one object", member.name);
                return Err(ParseError::Json { place: member.place, message });
            }
            members.push(member);
            self.skip_white_space();
            match self.step_if(|c| matches!(c, ',' | '}')) {
                Some(',') => {}
                Some(_) => return Ok(members),
                None => return Err(self.expected("`,` or `}`")),
            }
        }
    }

    fn member(&mut self, levels: usize) -> Result<Member, ParseError> {
        self.skip_white_space();
        let place = self.place;
        if self.peek() != Some('"') {
            return Err(self.expected("a key in quotes"));
        }
        let name = self.string()?;
        self.skip_white_space();
        self.step_if(|c| c == ':').ok_or_else(|| self.expected("`:`"))?;
        Ok(Member { name, place, value: self.value(levels)? })
    }

    fn string(&mut self) -> Result<String, ParseError> {
        self.step();
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.step();
                    return Ok(text);
                }
                Some('\\') => {
                    self.step();
                    text.push(self.escape()?);
                }
                Some('\0'..='\u{1f}') => return Err(self.expected("no bare control character in a string")),
                Some(character) => {
                    self.step();
                    text.push(character);
                }
                None => return Err(self.expected("`\"`")),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, ParseError> {
        let character = match self.peek() {
            Some(same @ ('"' | '\\' | '/')) => same,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.step();
                return self.code_point();
            }
            Some(_) | None => return Err(self.expected("an escape: one of `\"\\/bfnrtu`")),
        };
        self.step();
        Ok(character)
    }

    /// Four digits, or two times four that are a surrogate pair.
    fn code_point(&mut self) -> Result<char, ParseError> {
        let alone = self.wrong("half of a surrogate pair stands alone".to_owned());
        let high = self.four_digits()?;
        if let Some(character) = char::from_u32(high) {
            return Ok(character);
        }
        let follows = (0xd800..0xdc00).contains(&high) && self.rest.starts_with("\\u");
        if !follows {
            return Err(alone);
        }
        self.step();
        self.step();
        let low = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(alone);
        }
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(alone)
    }

    fn four_digits(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit =
                self.peek().and_then(|c| c.to_digit(16)).ok_or_else(|| self.expected("a hex digit"))?;
            self.step();
            code = code * 16 + digit;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<String, ParseError> {
        let mut text = String::new();
        text.extend(self.step_if(|c| c == '-'));
        match self.step_if(|c| c.is_ascii_digit()) {
            Some('0') => {
                text.push('0');
                if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    return Err(self.expected("no digit behind a leading zero"));
                }
            }
            Some(digit) => {
                text.push(digit);
                self.digits(&mut text);
            }
            None => return Err(self.expected("a digit")),
        }
        if let Some(point) = self.step_if(|c| c == '.') {
            text.push(point);
            self.some_digits(&mut text)?;
        }
        if let Some(exponent) = self.step_if(|c| matches!(c, 'e' | 'E')) {
            text.push(exponent);
            text.extend(self.step_if(|c| matches!(c, '+' | '-')));
            self.some_digits(&mut text)?;
        }
        Ok(text)
    }

    fn digits(&mut self, text: &mut String) {
        while let Some(digit) = self.step_if(|c| c.is_ascii_digit()) {
            text.push(digit);
        }
    }

    fn some_digits(&mut self, text: &mut String) -> Result<(), ParseError> {
        let before = text.len();
        self.digits(text);
        if text.len() == before { Err(self.expected("a digit")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the general reader has it, which is the reference for the grammar.
    fn general(node: &Node) -> serde_json::Value {
        match &node.json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(truth) => (*truth).into(),
            Json::Number(text) => serde_json::from_str(text).unwrap_or_default(),
            Json::Text(text) => text.as_str().into(),
            Json::List(items) => items.iter().map(general).collect(),
            Json::Object(members) => {
                members.iter().map(|member| (member.name.clone(), general(&member.value))).collect()
            }
        }
    }

    fn check(text: &str) {
        let ours = Node::parse(text);
        let general_reader = serde_json::from_str::<serde_json::Value>(text);
        match (&ours, &general_reader) {
            (Ok(node), Ok(value)) => assert_eq!(&general(node), value, "{text}"),
            (Err(_), Err(_)) => {}
            // What only we refuse: keys that repeat, and depth.
            (Err(ParseError::Json { message, .. }), Ok(_)) => {
                assert!(
                    message.contains("appears twice") || message.contains("levels deep"),
                    "{message}: {text}"
                );
            }
            // A number beyond the range of the general reader's.
            (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{error}: {text}"),
            (Err(other), Ok(_)) => panic!("{other}: {text}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn accepts_what_a_general_reader_accepts(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"b\"", "\\", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "0", "-", "1", ".5",
                "e3", "E+", "true", "false", "null", "nul", " ", "\n", "\t", "\u{1}", "é", "日", "\"\\n\\/\"", "\u{feff}",
            ]), 0..14),
        ) {
            check(&pieces.concat());
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        let node = Node::parse("{\n  \"é\": [1,\r\n true]}").unwrap();
        let Json::Object(members) = &node.json else { panic!("no object") };
        let Json::List(items) = &members[0].value.json else { panic!("no list") };
        let places: Vec<(u32, u32)> = [node.place, members[0].place, members[0].value.place, items[1].place]
            .iter()
            .map(|place| (place.line, place.column))
            .collect();
        assert_eq!(places, [(1, 1), (2, 3), (2, 8), (3, 2)]);
    }
}
