//! Reads single fields of an answer, so that an unreadable field does not spoil the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};
use token_rotator::SecretString;

/// The fields of an answer, unparsed. If two fields have the same name, the last field counts.
///
/// An unreadable value (a number of 400 digits, half a surrogate pair) counts as missing and
/// affects no other field.
pub(crate) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Reads a JSON object (RFC 8259). Returns `None` if the bytes are no JSON object.
    ///
    /// Ignores a byte order mark. An answer in UTF-16 is read as UTF-16. A byte that is no UTF-8
    /// spoils only the field that has it, because tokens are ASCII.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Self::parse(&decode(bytes))
    }

    /// Reads a JSON object, or an answer in the form encoding, as GitHub sends it to clients that
    /// do not ask for JSON. Returns `None` for every other text, for a web page above all.
    pub(crate) fn read_any(bytes: &[u8]) -> Option<Self> {
        let text = decode(bytes);
        Self::parse(&text).or_else(|| Self::parse_form(text.trim()))
    }

    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// Reads `name=value` pairs. One of the names must be a field of RFC 6749 section 5.
    fn parse_form(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"<>{}\"".contains(&byte);
        if !text.bytes().all(legal) {
            return None;
        }
        let pairs = form_urlencoded::parse(text.as_bytes());
        let fields: Option<BTreeMap<_, _>> = pairs
            .map(|(name, value)| Some((name.into_owned(), to_raw_value(&value).ok()?)))
            .collect();
        fields.map(Self).filter(|Self(fields)| {
            let mut names = ["access_token", "refresh_token", "error"].iter();
            names.any(|name| fields.contains_key(*name))
        })
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// Returns the value at this path: names of objects and at last of a field, separated by dots.
    pub(crate) fn raw_at(&self, path: &str) -> Option<String> {
        match path.split_once('.') {
            None => self.raw(path).map(str::to_owned),
            Some((name, rest)) => self.object(name)?.raw_at(rest),
        }
    }

    /// Returns the object in this field.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.raw(name)?)
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

/// Decodes UTF-8 or, by its byte order mark, UTF-16.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(bytes),
    }
}

pub(super) fn text(raw: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: an answer in UTF-16, with a byte order mark or with a byte of another charset keeps
    /// its readable fields.
    #[test]
    fn the_charset_spoils_no_readable_field() {
        let text = "{\"a\":\"b\"}";
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(bytes);
            mark.into_iter().chain(units).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16([0xff, 0xfe], u16::to_le_bytes),
            utf16([0xfe, 0xff], u16::to_be_bytes),
            b"{\"a\":\"b\",\"error_description\":\"ung\xfcltig\"}".to_vec(),
        ] {
            let fields = Fields::read(&bytes).expect("an object");
            assert_eq!(fields.text("a").as_deref(), Some("b"), "{bytes:?}");
        }
    }

    /// Property: only a form with a field of RFC 6749 is an answer.
    #[test]
    fn a_form_needs_a_field_of_an_answer() {
        for text in [
            "access_token=a&token_type=bearer",
            "error=bad_refresh_token",
            "x=1&refresh_token=r\n",
        ] {
            assert!(Fields::read_any(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "",
            "OK",
            "status=ok",
            "<p>access_token=a</p>",
            "access_token = a",
        ] {
            assert!(Fields::read_any(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Fields::read(b"access_token=a").is_none());
    }

    #[test]
    fn a_path_leads_through_objects() {
        let fields = Fields::read(br#"{"a":{"b":{"c":"x"}},"d":7}"#).expect("an object");
        assert_eq!(fields.raw_at("a.b.c").as_deref(), Some("\"x\""));
        assert_eq!(fields.raw_at("d").as_deref(), Some("7"));
        for path in ["a.c", "d.e", "a.b.c.d", "", "a."] {
            assert_eq!(fields.raw_at(path), None, "{path}");
        }
    }
}
