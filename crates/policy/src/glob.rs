//! Wildcard matching: `*` is any run of characters, `?` any one character, everything else itself.
//!
//! INVARIANT: no backtracking over earlier pieces. A pattern is cut at its stars; the first and last piece are
//! anchored, each piece between is taken at its leftmost place and never reconsidered. A piece without `?` is
//! found by the standard library's linear search; one with `?` is compared at each place while it is short, and
//! run as an automaton, 64 states to a machine word, when it is long. So a match costs at most some 64 steps a
//! character of the text, or a 64th of the piece's length where that is more.

use std::collections::BTreeMap;

const WORD_BITS: usize = 64;

/// Up to here comparing at each place is no slower than the automaton.
const SHORT_CHARACTERS: usize = 64;

/// A compiled wildcard pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Shape);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// No wildcard.
    Exact(Box<str>),
    /// Text, then one star.
    Beginning(Box<str>),
    /// No star: the whole text has to be this piece.
    Whole(Piece),
    /// At least one star.
    Starred { first: Piece, between: Vec<Piece>, last: Piece, least_characters: usize },
}

/// What a pattern is made of, already told apart from literal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Text(&'a str),
    One,
    Many,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    units: Vec<Unit>,
    characters: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    Text(String),
    One,
}

impl Glob {
    /// Compiles a pattern in which every `*` and `?` is a wildcard.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(at) = rest.find(['*', '?']) {
            tokens.push(Token::Text(&rest[..at]));
            tokens.push(if rest[at..].starts_with('*') { Token::Many } else { Token::One });
            rest = &rest[at + 1..];
        }
        tokens.push(Token::Text(rest));
        Self::from_tokens(tokens)
    }

    pub(crate) fn from_tokens<'a>(tokens: impl IntoIterator<Item = Token<'a>>) -> Self {
        let mut pieces = vec![Piece::default()];
        for token in tokens {
            match (token, pieces.last_mut()) {
                (Token::Many, _) | (_, None) => pieces.push(Piece::default()),
                (Token::Text(text), Some(piece)) => piece.push_text(text),
                (Token::One, Some(piece)) => piece.push_one(),
            }
        }
        let least_characters = pieces.iter().map(|piece| piece.characters).sum();
        let last = pieces.pop().unwrap_or_default();
        if pieces.is_empty() {
            return Self(last.plain().map(Shape::Exact).unwrap_or(Shape::Whole(last)));
        }
        let first = pieces.remove(0);
        pieces.retain(|piece| piece.characters > 0);
        match first.plain() {
            Some(text) if pieces.is_empty() && last.characters == 0 => Self(Shape::Beginning(text)),
            Some(_) | None => Self(Shape::Starred { first, between: pieces, last, least_characters }),
        }
    }

    /// The text of a pattern without wildcards.
    pub(crate) fn plain_text(&self) -> Option<&str> {
        match &self.0 {
            Shape::Exact(text) => Some(text),
            Shape::Beginning(_) | Shape::Whole(_) | Shape::Starred { .. } => None,
        }
    }

    /// With what every text begins that fits.
    pub(crate) fn beginning(&self) -> &str {
        match &self.0 {
            Shape::Exact(text) | Shape::Beginning(text) => text,
            Shape::Whole(piece) | Shape::Starred { first: piece, .. } => match piece.units.first() {
                Some(Unit::Text(text)) => text,
                Some(Unit::One) | None => "",
            },
        }
    }

    /// Whether the whole text is what the pattern describes.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Shape::Exact(exact) => **exact == *text,
            Shape::Beginning(beginning) => text.starts_with(&**beginning),
            Shape::Whole(piece) => piece.length_at_start(text) == Some(text.len()),
            Shape::Starred { first, between, last, least_characters } => {
                *least_characters <= text.len() && matches_starred(first, between, last, text)
            }
        }
    }
}

fn matches_starred(first: &Piece, between: &[Piece], last: &Piece, text: &str) -> bool {
    let Some(start) = first.length_at_start(text) else { return false };
    let rest = &text[start..];
    let Some(end) = last.start_at_end(rest) else { return false };
    let mut body = &rest[..end];
    for piece in between {
        match piece.end_of_leftmost(body) {
            Some(after) => body = &body[after..],
            None => return false,
        }
    }
    true
}

impl Piece {
    pub(crate) fn is_empty(&self) -> bool {
        self.characters == 0
    }

    /// The text of a piece without wildcards.
    fn plain(&self) -> Option<Box<str>> {
        match self.units.as_slice() {
            [] => Some(Box::default()),
            [Unit::Text(text)] => Some(text.as_str().into()),
            [Unit::One] | [_, _, ..] => None,
        }
    }

    pub(crate) fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.characters += text.chars().count();
        match self.units.last_mut() {
            Some(Unit::Text(before)) => before.push_str(text),
            Some(Unit::One) | None => self.units.push(Unit::Text(text.to_owned())),
        }
    }

    pub(crate) fn push_one(&mut self) {
        self.characters += 1;
        self.units.push(Unit::One);
    }

    /// How many bytes of the text's beginning this piece takes.
    fn length_at_start(&self, text: &str) -> Option<usize> {
        let mut rest = text;
        for unit in &self.units {
            rest = match unit {
                Unit::Text(literal) => rest.strip_prefix(literal.as_str())?,
                Unit::One => {
                    let mut characters = rest.chars();
                    characters.next()?;
                    characters.as_str()
                }
            };
        }
        Some(text.len() - rest.len())
    }

    /// Where this piece begins when it ends the text.
    fn start_at_end(&self, text: &str) -> Option<usize> {
        if self.characters == 0 {
            return Some(text.len());
        }
        let (start, _) = text.char_indices().rev().nth(self.characters - 1)?;
        (self.length_at_start(&text[start..])? == text.len() - start).then_some(start)
    }

    /// The end of the first place where this piece fits.
    pub(crate) fn end_of_leftmost(&self, text: &str) -> Option<usize> {
        if let [Unit::Text(literal)] = self.units.as_slice() {
            return text.find(literal.as_str()).map(|start| start + literal.len());
        }
        if self.characters <= SHORT_CHARACTERS {
            return text
                .char_indices()
                .find_map(|(start, _)| self.length_at_start(&text[start..]).map(|length| start + length));
        }
        self.end_by_automaton(text)
    }

    /// Shift-and: bit `i` of the states says that the last `i + 1` characters of the text fit the piece's first.
    fn end_by_automaton(&self, text: &str) -> Option<usize> {
        let fits = Fits::of(self);
        let (last_word, last_bit) = bit(self.characters - 1);
        let mut states = vec![0_u64; fits.any.len()];
        let mut shifted = states.clone();
        for (start, character) in text.char_indices() {
            let mut carried = 1;
            for (to, from) in shifted.iter_mut().zip(&states) {
                *to = (from << 1) | carried;
                carried = from >> (WORD_BITS - 1);
            }
            for ((state, shifted), any) in states.iter_mut().zip(&shifted).zip(&fits.any) {
                *state = shifted & any;
            }
            for (word, mask) in fits.literal.get(&character).into_iter().flatten() {
                states[*word] |= shifted[*word] & mask;
            }
            if states[last_word] & last_bit != 0 {
                return Some(start + character.len_utf8());
            }
        }
        None
    }
}

/// Which characters fit at which places of a piece, as bits in words.
struct Fits {
    /// The places of `?`.
    any: Vec<u64>,
    /// The places of each character, words without one left out.
    literal: BTreeMap<char, Vec<(usize, u64)>>,
}

impl Fits {
    fn of(piece: &Piece) -> Self {
        let mut fits = Self { any: vec![0; piece.characters.div_ceil(WORD_BITS)], literal: BTreeMap::new() };
        let mut place = 0;
        for unit in &piece.units {
            match unit {
                Unit::One => {
                    let (word, bits) = bit(place);
                    fits.any[word] |= bits;
                    place += 1;
                }
                Unit::Text(text) => {
                    for character in text.chars() {
                        fits.add(character, place);
                        place += 1;
                    }
                }
            }
        }
        fits
    }

    fn add(&mut self, character: char, place: usize) {
        let (word, bits) = bit(place);
        let words = self.literal.entry(character).or_default();
        match words.last_mut() {
            Some((last, mask)) if *last == word => *mask |= bits,
            Some(_) | None => words.push((word, bits)),
        }
    }
}

fn bit(place: usize) -> (usize, u64) {
    (place / WORD_BITS, 1 << (place % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::{Glob, Piece};
    use proptest::prelude::*;

    /// The definition, written as plainly as can be (and exponential).
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((literal, rest)) => text.first() == Some(literal) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn agrees_with_the_definition(pattern in "[abé*?]{0,9}", text in "[abé]{0,12}") {
            let pattern_characters: Vec<char> = pattern.chars().collect();
            let text_characters: Vec<char> = text.chars().collect();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), naive(&pattern_characters, &text_characters));
        }
    }

    proptest! {
        #[test]
        fn the_automaton_finds_what_comparing_finds(
            piece in "[ab?é]{1,150}",
            before in "[abé]{0,200}",
            fillers in "[abé]{150}",
            after in "[abé]{0,50}",
        ) {
            let mut filler = fillers.chars();
            let fitting: String =
                piece.chars().map(|c| if c == '?' { filler.next().unwrap_or('a') } else { c }).collect();
            let mut compiled = Piece::default();
            for character in piece.chars() {
                match character {
                    '?' => compiled.push_one(),
                    other => compiled.push_text(&other.to_string()),
                }
            }
            for text in [format!("{before}{fitting}{after}"), before, fitting] {
                let compared = text
                    .char_indices()
                    .find_map(|(at, _)| compiled.length_at_start(&text[at..]).map(|length| at + length));
                prop_assert_eq!(compiled.end_by_automaton(&text), compared, "`{}` in `{}`", &piece, &text);
            }
        }
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let started = std::time::Instant::now();
        let text = "a".repeat(20_000);
        assert!(!Glob::new(&format!("{}b", "a*".repeat(5_000))).matches(&text));
        assert!(!Glob::new(&format!("{}b*", "*a?".repeat(3_000))).matches(&text));
        assert!(!Glob::new(&format!("*{}b*", "a?".repeat(5_000))).matches(&text));
        assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
    }
}
