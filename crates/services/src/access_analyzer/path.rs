//! Where a finding stands, as Access Analyzer says it: the way through the document, and the span of its text.
//!
//! Lines count from 1, columns and offsets from 0 ("Position" in the API reference).

use postern_policy::Place;
use serde_json::{Value, json};

/// The offset in characters of a place.
pub(super) fn offset(text: &str, place: Place) -> usize {
    let mut at = (1, 1);
    let before = text.chars().take_while(|character| {
        let here = at;
        at = if *character == '\n' { (at.0 + 1, 1) } else { (at.0, at.1 + 1) };
        here < (place.line, place.column)
    });
    before.count()
}

/// The location of what begins at a place. Of a document that is no JSON, there is no way to it.
pub(super) fn location(text: &str, place: Place) -> Value {
    let characters: Vec<char> = text.chars().collect();
    let start = offset(text, place);
    let mut walk = Walk { characters: &characters, at: 0, wanted: start, way: Vec::new(), found: None };
    walk.value();
    let (way, end) = walk.found.unwrap_or((Vec::new(), start));
    json!({
        "path": way,
        "span": { "start": position(&characters, start), "end": position(&characters, end) },
    })
}

fn position(characters: &[char], offset: usize) -> Value {
    let before = characters.get(..offset).unwrap_or(characters);
    let line = before.iter().filter(|character| **character == '\n').count() + 1;
    let column = before.iter().rev().take_while(|character| **character != '\n').count();
    json!({ "line": line, "column": column, "offset": offset })
}

/// A walk over the text of a JSON document that remembers the way to what begins at one offset.
struct Walk<'t> {
    characters: &'t [char],
    at: usize,
    wanted: usize,
    way: Vec<Value>,
    /// The way, and where what is wanted ends.
    found: Option<(Vec<Value>, usize)>,
}

impl Walk<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.at += 1;
        }
    }

    fn note(&mut self, start: usize, step: Option<Value>) {
        if start == self.wanted && self.found.is_none() {
            self.found = Some((self.way.iter().cloned().chain(step).collect(), self.at));
        }
    }

    /// Walks over a value. Documents that are nested deeper than policies may be are not walked to their end.
    fn value(&mut self) {
        const DEEPEST: usize = 64;
        self.skip(char::is_whitespace);
        let start = self.at;
        match self.peek() {
            _ if self.way.len() > DEEPEST => self.at = self.characters.len(),
            Some('{') => self.members(),
            Some('[') => self.items(),
            Some('"') => {
                self.text();
            }
            Some(_) | None => self.skip(|c| !c.is_whitespace() && !",]}".contains(c)),
        }
        self.note(start, None);
    }

    fn members(&mut self) {
        self.at += 1;
        loop {
            self.skip(|c| c.is_whitespace() || c == ',');
            let start = self.at;
            if self.peek() != Some('"') {
                break;
            }
            let key = self.text();
            self.note(start, Some(json!({ "key": key })));
            self.skip(|c| c.is_whitespace() || c == ':');
            self.way.push(json!({ "value": key }));
            self.value();
            self.way.pop();
        }
        self.close('}');
    }

    fn items(&mut self) {
        self.at += 1;
        for index in 0_usize.. {
            self.skip(|c| c.is_whitespace() || c == ',');
            if matches!(self.peek(), None | Some(']' | '}')) {
                break;
            }
            self.way.push(json!({ "index": index }));
            self.value();
            self.way.pop();
        }
        self.close(']');
    }

    fn close(&mut self, bracket: char) {
        if self.peek() == Some(bracket) {
            self.at += 1;
        } else {
            // No JSON: nothing behind this can be told.
            self.at = self.characters.len();
        }
    }

    /// Walks over a text, and gives it.
    fn text(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while let Some(character) = self.peek() {
            self.at += if character == '\\' { 2 } else { 1 };
            if character == '"' {
                break;
            }
        }
        self.at = self.at.min(self.characters.len());
        let raw: String = self.characters.get(start..self.at).unwrap_or_default().iter().collect();
        serde_json::from_str(&raw).unwrap_or(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_at_a_place_is_found_with_its_way() {
        let text = "{\"Statement\": [{\n  \"Action\": [\"a\", \"s3:Gé\"]}]}";
        let found = location(text, Place { line: 2, column: 19 });
        assert_eq!(
            found["path"],
            json!([{"value": "Statement"}, {"index": 0}, {"value": "Action"}, {"index": 1}])
        );
        assert_eq!(found["span"]["start"], json!({"line": 2, "column": 18, "offset": 35}));
        assert_eq!(found["span"]["end"], json!({"line": 2, "column": 25, "offset": 42}));
        let key = location(text, Place { line: 2, column: 3 });
        assert_eq!(key["path"], json!([{"value": "Statement"}, {"index": 0}, {"key": "Action"}]));
    }

    #[test]
    fn what_is_no_json_has_no_way_and_ends() {
        for text in ["", "{", "{\"a\" [", "[1 2 }", "\"\\", &"[".repeat(5000)] {
            let found = location(text, Place { line: 9, column: 9 });
            assert_eq!(found["path"], json!([]), "{text}");
        }
    }
}
