//! A JSON object whose fields are read one by one, each as well as it can be.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use token_rotator::SecretString;

/// The fields of a JSON object (RFC 8259), unread. Of two with the same name the last one counts.
///
/// A value that cannot be read (a number of 400 digits, half a surrogate pair) is missing and
/// spoils no other.
pub(crate) struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// `None` if the bytes are no JSON object. A byte order mark before it is ignored.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    /// The object in this field.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.raw(name)?.as_bytes())
    }

    /// The string in this field, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(self.raw(name)?)
    }

    /// The same, not to be shown.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// The list of strings in this field.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// The number in this field, as a string too, as some issuers write it. Never `inf` or `NaN`.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        number(self.raw(name)?)
    }

    /// All strings that are not empty, by name.
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

/// `parse` alone would also read `inf` and `nan`.
pub(super) fn number(raw: &str) -> Option<f64> {
    let text = raw
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(raw)
        .trim();
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| text.parse().ok())?
}
