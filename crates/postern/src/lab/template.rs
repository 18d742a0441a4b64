//! Texts with `${name}` in them, and the variables that stand there.
//!
//! `${name}` is the variable's value, `${name|base64}` that value in base64, `$${` a plain `${`. A `$` before anything
//! else is itself, so `$HOME` and `$(…)` reach the shell.
//!
//! INVARIANT: a value is put in as it is and never read as a template again.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What a text with variables in it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable { name: String, form: Form },
}

/// How a value is written into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Base64,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    /// It begins a variable and does not end it.
    #[error("`{0}` has a `${{` without its `}}` (write `$${{` for a plain `${{`)")]
    Unclosed(String),
    /// Between the braces is no name.
    #[error(
        "`${{{0}}}` names no variable (names are letters, digits and `_`; write `$${{` for a plain `${{`)"
    )]
    Name(String),
    /// After the bar is nothing known.
    #[error("`{0}` is no form of a variable (there is `base64`)")]
    Form(String),
}

/// A variable that nothing has set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no step has set the variable `{0}`")]
pub(super) struct UnknownVariable(pub String);

/// What variables stand for.
pub(super) type Variables = BTreeMap<String, Value>;

impl Template {
    /// Reads a text.
    pub(super) fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = after;
                continue;
            }
            text.push_str(before);
            let end = after.find('}').ok_or_else(|| TemplateError::Unclosed(source.to_owned()))?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(variable(&after[..end])?);
            rest = &after[end + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// As the file has it.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The variables it needs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable { name, .. } => Some(name.as_str()),
        })
    }

    /// The text with all variables filled in.
    pub(super) fn text(&self, variables: &Variables) -> Result<String, UnknownVariable> {
        self.text_with(variables, |value| value)
    }

    /// The same, every value first given to `escape`.
    pub(super) fn text_with(
        &self,
        variables: &Variables,
        escape: impl Fn(String) -> String,
    ) -> Result<String, UnknownVariable> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable { name, form } => {
                    let value = plain(find(variables, name)?);
                    text.push_str(&escape(form.of(value)));
                }
            }
        }
        Ok(text)
    }

    /// The value: a template that is one plain variable and nothing else keeps the value's type.
    pub(super) fn value(&self, variables: &Variables) -> Result<Value, UnknownVariable> {
        match self.parts.as_slice() {
            [Part::Variable { name, form: Form::Plain }] => find(variables, name).cloned(),
            _ => self.text(variables).map(Value::String),
        }
    }
}

impl Form {
    fn of(self, value: String) -> String {
        match self {
            Self::Plain => value,
            Self::Base64 => STANDARD.encode(value),
        }
    }
}

fn find<'a>(variables: &'a Variables, name: &str) -> Result<&'a Value, UnknownVariable> {
    variables.get(name).ok_or_else(|| UnknownVariable(name.to_owned()))
}

fn variable(inside: &str) -> Result<Part, TemplateError> {
    let (name, form) = match inside.split_once('|') {
        None => (inside, Form::Plain),
        Some((name, "base64")) => (name, Form::Base64),
        Some((_, other)) => return Err(TemplateError::Form(other.to_owned())),
    };
    if !is_variable_name(name) {
        return Err(TemplateError::Name(inside.to_owned()));
    }
    Ok(Part::Variable { name: name.to_owned(), form })
}

/// Whether variables may be called so.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A value as a text: strings as they are, everything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A tree of values whose texts are templates.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A text.
    Text(Template),
    /// A number or a boolean.
    Plain(Value),
    /// A list.
    List(Vec<Tree>),
    /// A structure.
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    /// Reads a TOML value; dates and times become texts.
    pub(super) fn parse(value: &toml::Value) -> Result<Self, TemplateError> {
        Ok(match value {
            toml::Value::String(text) => Self::Text(Template::parse(text)?),
            toml::Value::Integer(number) => Self::Plain((*number).into()),
            toml::Value::Float(number) => Self::Plain((*number).into()),
            toml::Value::Boolean(flag) => Self::Plain((*flag).into()),
            toml::Value::Datetime(time) => Self::Plain(time.to_string().into()),
            toml::Value::Array(list) => Self::List(list.iter().map(Self::parse).collect::<Result<_, _>>()?),
            toml::Value::Table(table) => Self::parse_table(table)?,
        })
    }

    /// Reads a TOML table.
    pub(super) fn parse_table(table: &toml::Table) -> Result<Self, TemplateError> {
        let entries = table.iter().map(|(key, value)| Ok((key.clone(), Self::parse(value)?)));
        Ok(Self::Map(entries.collect::<Result<_, _>>()?))
    }

    /// The tree with all variables filled in.
    pub(super) fn value(&self, variables: &Variables) -> Result<Value, UnknownVariable> {
        Ok(match self {
            Self::Text(template) => template.value(variables)?,
            Self::Plain(value) => value.clone(),
            Self::List(list) => {
                Value::Array(list.iter().map(|tree| tree.value(variables)).collect::<Result<_, _>>()?)
            }
            Self::Map(map) => {
                let entries = map.iter().map(|(key, tree)| Ok((key.clone(), tree.value(variables)?)));
                Value::Object(entries.collect::<Result<_, _>>()?)
            }
        })
    }

    /// Gives every template in it to `visit`.
    pub(super) fn each_template<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        match self {
            Self::Text(template) => visit(template),
            Self::Plain(_) => {}
            Self::List(list) => list.iter().for_each(|tree| tree.each_template(visit)),
            Self::Map(map) => map.values().for_each(|tree| tree.each_template(visit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        [("vpc", json!("vpc-1")), ("count", json!(3)), ("list", json!(["a", "b"])), ("odd", json!("${vpc}"))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    fn filled(text: &str) -> Result<String, UnknownVariable> {
        Template::parse(text).unwrap().text(&variables())
    }

    #[test]
    fn variables_stand_within_texts() {
        assert_eq!(filled("${vpc}").unwrap(), "vpc-1");
        assert_eq!(filled("<${vpc}${count}> $HOME $(id) $").unwrap(), "<vpc-13> $HOME $(id) $");
        assert_eq!(filled("$${vpc} ${vpc|base64}").unwrap(), "${vpc} dnBjLTE=");
        assert_eq!(filled("${odd}").unwrap(), "${vpc}", "a value is no template");
        assert_eq!(filled("a ${nowhere}"), Err(UnknownVariable("nowhere".to_owned())));
    }

    #[test]
    fn a_variable_alone_keeps_its_type() {
        let value = |text: &str| Template::parse(text).unwrap().value(&variables()).unwrap();
        assert_eq!(value("${count}"), json!(3));
        assert_eq!(value("${list}"), json!(["a", "b"]));
        assert_eq!(value("${count} "), json!("3 "));
        assert_eq!(value("${count|base64}"), json!("Mw=="));
    }

    #[test]
    fn trees_are_filled_to_the_leaves() {
        let table: toml::Table = toml::from_str("a = [{ b = '${vpc}', n = 1, t = true }]").unwrap();
        let tree = Tree::parse_table(&table).unwrap();
        assert_eq!(tree.value(&variables()).unwrap(), json!({"a": [{"b": "vpc-1", "n": 1, "t": true}]}));
        let mut seen = Vec::new();
        tree.each_template(&mut |template| seen.push(template.source().to_owned()));
        assert_eq!(seen, ["${vpc}"]);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(Template::parse("a ${vpc"), Err(TemplateError::Unclosed("a ${vpc".to_owned())));
        assert_eq!(Template::parse("${}"), Err(TemplateError::Name(String::new())));
        assert_eq!(Template::parse("${aws:name}"), Err(TemplateError::Name("aws:name".to_owned())));
        assert_eq!(Template::parse("${vpc|rot13}"), Err(TemplateError::Form("rot13".to_owned())));
    }

    proptest! {
        #[test]
        fn texts_without_variables_are_themselves(text in "[^$]*") {
            prop_assert_eq!(filled(&text).unwrap(), text);
        }

        #[test]
        fn any_text_can_be_written(text in "[${}a|]*") {
            let written = text.replace("${", "$${");
            prop_assert_eq!(filled(&written).unwrap(), text);
        }
    }
}
