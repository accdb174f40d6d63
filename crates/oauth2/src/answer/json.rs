//! Reads single fields of a JSON object, so that an unreadable field does not spoil the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use token_rotator::SecretString;

/// The fields of a JSON object (RFC 8259), unparsed. If two fields have the same name, the last
/// field counts.
///
/// An unreadable value (a number of 400 digits, half a surrogate pair) counts as missing and
/// affects no other field.
pub(crate) struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Returns `None` if the bytes are not a JSON object. Ignores a byte order mark before the
    /// object.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    /// Returns the object in this field.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.raw(name)?.as_bytes())
    }

    /// Returns the string in this field, or `None` if the string is empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(self.raw(name)?)
    }

    /// Returns the string in this field as a secret.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// Returns the list of strings in this field.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// Returns the number in this field. Accepts a number in a string, because some issuers send
    /// strings. Never returns `inf` or `NaN`.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        number(self.raw(name)?)
    }

    /// Returns the name and value of every string field that is not empty.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, String)> {
        let fields = self.0.iter();
        fields.filter_map(|(name, value)| Some((&**name, text(value.get())?)))
    }
}

fn text(raw: &str) -> Option<String> {
    serde_json::from_str::<String>(raw)
        .ok()
        .filter(|text| !text.is_empty())
}

/// `parse` alone would also accept `inf` and `nan`.
pub(super) fn number(raw: &str) -> Option<f64> {
    let text = raw
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(raw)
        .trim();
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| text.parse().ok())?
}
