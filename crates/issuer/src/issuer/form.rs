//! Form bodies (`application/x-www-form-urlencoded`).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::issuer::database::RequestedAccess;
use crate::issuer::refusal::Refusal;

/// The parameters of a request, each at most once (RFC 6749 section 3.2).
pub(super) struct FormParameters {
    parameters: BTreeMap<String, String>,
}

impl FormParameters {
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, Refusal> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let essence = content_type
            .and_then(|value| value.split(';').next())
            .map(str::trim);
        if !essence.is_some_and(|essence| {
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        }) {
            return Err(Refusal::Request("the body is not form-urlencoded"));
        }
        Self::parse(&read_body(request).await?)
    }

    /// Returns a parameter's value. A parameter without a value counts as omitted (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns whether the parameter is present, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }

    pub(super) fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or(Refusal::Missing(name))
    }

    /// Returns the scope and the audience that the request asks for.
    pub(super) fn requested_access(&self) -> RequestedAccess<'_> {
        RequestedAccess {
            scope: self.get("scope"),
            audience: self.get("audience").or_else(|| self.get("resource")),
        }
    }

    /// Parses the bytes of a body or of a query.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // `resource` may repeat (RFC 8707 section 2). The first value becomes the audience.
            let repeats = name == "resource";
            if parameters.contains_key(&*name) && !repeats {
                return Err(Refusal::Request("a parameter is repeated"));
            }
            parameters
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
        Ok(Self { parameters })
    }
}

/// Reads a body of at most 64 KiB to its end.
pub(super) async fn read_body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    const LIMIT: usize = 64 * 1024;
    let body = Limited::new(request.into_body(), LIMIT).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|_| Refusal::Request("the body is cut off or over 64 KiB"))
}

/// Decodes one form-urlencoded name or value.
pub(super) fn decode_component(encoded: &str) -> String {
    // An unescaped `&` belongs to the value: some clients do not escape it.
    let pair = format!("={}", encoded.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{FormParameters, decode_component};

    #[test]
    fn components_decode_as_forms_do() {
        assert_eq!(decode_component("a%3Ab+c"), "a:b c");
        assert_eq!(decode_component("a&b=c"), "a&b=c");
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        assert!(FormParameters::parse(b"scope=a&scope=a").is_err());
        assert!(FormParameters::parse(b"resource=a&resource=b").is_ok());
    }

    #[test]
    fn an_empty_parameter_counts_as_left_out() {
        let form = FormParameters::parse(b"scope=&client_id=demo").expect("a form");
        assert_eq!(form.get("scope"), None);
        assert_eq!(form.get("client_id"), Some("demo"));
    }
}
