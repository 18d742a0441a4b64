//! A small XML writer: elements and text, no indentation, everything escaped.

/// Whether XML 1.0 can carry the character at all.
pub const fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Builds a document.
#[derive(Debug)]
pub struct Writer {
    document: String,
}

impl Default for Writer {
    fn default() -> Self {
        Self { document: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }
}

impl Writer {
    /// Opens an element. `name` is one of ours, never a caller's.
    pub fn open(&mut self, name: &str) {
        self.document.push('<');
        self.document.push_str(name);
        self.document.push('>');
    }

    /// Opens the root element with its namespace.
    pub fn open_with_namespace(&mut self, name: &str, namespace: &str) {
        self.document.push('<');
        self.document.push_str(name);
        self.document.push_str(" xmlns=\"");
        self.document.push_str(namespace);
        self.document.push_str("\">");
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.document.push_str("</");
        self.document.push_str(name);
        self.document.push('>');
    }

    /// An element without content.
    pub fn empty(&mut self, name: &str) {
        self.document.push('<');
        self.document.push_str(name);
        self.document.push_str("/>");
    }

    /// An element with text.
    pub fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        self.text(text);
        self.close(name);
    }

    /// Text, escaped. A carriage return is written as a reference, since readers turn a bare one into a line feed;
    /// a character that XML cannot carry becomes U+FFFD.
    pub fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.document.push_str("&amp;"),
                '<' => self.document.push_str("&lt;"),
                '>' => self.document.push_str("&gt;"),
                '"' => self.document.push_str("&quot;"),
                '\r' => self.document.push_str("&#xD;"),
                letter if is_allowed(letter) => self.document.push(letter),
                _ => self.document.push('\u{fffd}'),
            }
        }
    }

    /// The document.
    pub fn finish(self) -> String {
        self.document
    }
}
