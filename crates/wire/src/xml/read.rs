//! A document as a tree, within bounds: no document types, no entities but XML's five and character references.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// Bytes that a document may have.
const BYTES_MAX: usize = 64 << 20;
/// Elements inside one another.
const DEPTH_MAX: usize = 64;

/// One element; prefixes of names are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without a prefix.
    pub name: String,
    /// The elements in it.
    pub children: Vec<Element>,
    /// The text directly in it.
    pub text: String,
}

impl Element {
    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Why a text is not a document we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Longer than we read.
    #[error("the document has {found} bytes, more than {BYTES_MAX}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// More elements inside one another than we read.
    #[error("the document nests deeper than {DEPTH_MAX} elements")]
    TooDeep,
    /// Not XML.
    #[error("the document is not well-formed at byte {at}: {reason}")]
    Malformed {
        /// Offset.
        at: u64,
        /// The parser's words.
        reason: String,
    },
    /// A document type, processing instruction or entity: nothing that AWS sends.
    #[error("the document holds {what} at byte {at}")]
    Refused {
        /// Offset.
        at: u64,
        /// A noun with its article.
        what: &'static str,
    },
    /// No element, or more than one root.
    #[error("the document does not have exactly one root element")]
    Root,
}

/// Reads a document.
///
/// # Errors
/// When the document is too large, too deep, not well-formed, or holds a document type or an unknown entity.
pub fn parse(document: &str) -> Result<Element, XmlError> {
    if document.len() > BYTES_MAX {
        return Err(XmlError::TooLong { found: document.len() });
    }
    let mut reader = Reader::from_str(document);
    // The bottom of the stack is the document itself.
    let mut stack = vec![Element::default()];
    loop {
        let at = reader.buffer_position();
        let malformed = |reason: String| XmlError::Malformed { at, reason };
        match reader.read_event().map_err(|error| malformed(error.to_string()))? {
            Event::Start(start) => {
                if stack.len() > DEPTH_MAX {
                    return Err(XmlError::TooDeep);
                }
                stack.push(opened(&start));
            }
            Event::Empty(start) => append(&mut stack, opened(&start)),
            Event::End(_) => {
                if let (Some(done), true) = (stack.pop(), !stack.is_empty()) {
                    append(&mut stack, done);
                }
            }
            Event::Text(text) => {
                add_text(&mut stack, &text.xml10_content().map_err(|error| malformed(error.to_string()))?);
            }
            Event::CData(data) => {
                add_text(&mut stack, &data.xml10_content().map_err(|error| malformed(error.to_string()))?);
            }
            Event::GeneralRef(reference) => {
                let letter =
                    resolve(&reference).ok_or(XmlError::Refused { at, what: "an unknown entity" })?;
                add_text(&mut stack, letter.encode_utf8(&mut [0; 4]));
            }
            Event::Comment(_) | Event::Decl(_) => {}
            Event::DocType(_) => return Err(XmlError::Refused { at, what: "a document type" }),
            Event::PI(_) => return Err(XmlError::Refused { at, what: "a processing instruction" }),
            Event::Eof => return root(stack, at),
        }
    }
}

fn root(mut stack: Vec<Element>, at: u64) -> Result<Element, XmlError> {
    match (stack.pop(), stack.is_empty()) {
        (Some(mut document), true) if document.text.trim().is_empty() => {
            match (document.children.pop(), document.children.is_empty()) {
                (Some(root), true) => Ok(root),
                _ => Err(XmlError::Root),
            }
        }
        (Some(_), true) => Err(XmlError::Root),
        _ => Err(XmlError::Malformed { at, reason: "an element is not closed".to_owned() }),
    }
}

fn opened(start: &BytesStart<'_>) -> Element {
    let name = String::from_utf8_lossy(start.local_name().into_inner()).into_owned();
    Element { name, ..Element::default() }
}

fn append(stack: &mut [Element], done: Element) {
    if let Some(parent) = stack.last_mut() {
        parent.children.push(done);
    }
}

fn add_text(stack: &mut [Element], text: &str) {
    if let Some(element) = stack.last_mut() {
        element.text.push_str(text);
    }
}

fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return Some(letter);
    }
    match reference.as_ref() {
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{XmlError, parse};
    use crate::xml::{Writer, is_allowed};

    #[test]
    fn what_could_hurt_is_refused() {
        let deep = "<a>".repeat(100);
        for document in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "x<a/>",
            "<!DOCTYPE a []><a/>",
            "<a>&b;</a>",
            "<?p x?><a/>",
            &deep,
        ] {
            assert!(parse(document).is_err(), "{document}");
        }
        assert_eq!(parse(&deep), Err(XmlError::TooDeep));
    }

    #[test]
    fn line_ends_are_those_of_xml_1_0() {
        let text = |document| parse(document).map(|element| element.text);
        assert_eq!(text("<a>1\r\n2\r3\u{2028}\u{85}4</a>").as_deref(), Ok("1\n2\n3\u{2028}\u{85}4"));
    }

    proptest! {
        #[test]
        fn written_text_is_read_back(text: String) {
            let mut writer = Writer::default();
            writer.element("a", &text);
            let allowed: String = text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(parse(&writer.finish()).map(|element| element.text), Ok(allowed));
        }
    }
}
