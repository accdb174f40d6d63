//! Arbitrary answers that contain secrets of the request, whole and in parts.

use proptest::prelude::*;
use serde_json::Value;

/// The secrets of a request: a refresh token, a client secret, a parameter, and tokens of an
/// earlier set.
pub(crate) const SENT: [&str; 5] = [
    "rt1-QmFzZTY0/+==",
    "cs2 p%ss w\u{f6}rd",
    "pa3.tenant-key",
    "at4-0123456789abcdef",
    "id5.eyJhbGciOi.J9",
];

/// Asserts that the text has no six characters in a row of any secret, in any case.
pub(crate) fn assert_clean(text: &str, context: &str) {
    assert_clean_of(&SENT, text, context);
}

/// Asserts that the text has no six characters in a row of the given secrets, in any case.
pub(crate) fn assert_clean_of(secrets: &[&str], text: &str, context: &str) {
    let text = text.to_lowercase();
    for secret in secrets {
        let secret: Vec<char> = secret.to_lowercase().chars().collect();
        for part in secret.windows(6) {
            let part: String = part.iter().collect();
            assert!(!text.contains(&part), "{part:?} in {text:?}, {context:?}");
        }
    }
}

/// Text with secrets, whole and in parts, between other text.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let secret = || prop::sample::select(&SENT[..]).prop_map(str::to_owned);
    let part = (secret(), 0..12_usize, 6..16_usize)
        .prop_map(|(secret, from, len)| secret.chars().skip(from).take(len).collect::<String>());
    let word = prop_oneof![
        secret(),
        secret().prop_map(|secret| secret.to_uppercase()),
        secret().prop_map(|secret| form_urlencoded::byte_serialize(secret.as_bytes()).collect()),
        part,
        "\\PC{0,12}",
        any::<String>(),
        prop::sample::select(
            &[
                "invalid_grant",
                "Bearer",
                "3600",
                " ",
                "reuse",
                "https://issuer.example"
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(word, 0..5).prop_map(|parts| parts.concat())
}

pub(crate) fn json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        6 => prop::sample::select(&[
            "access_token", "refresh_token", "id_token", "token_type", "expires_in", "scope",
            "error", "error_description", "error_code", "code", "message", "msg",
            "issuer", "authorization_endpoint", "token_endpoint", "scopes_supported",
            "device_code", "user_code", "verification_uri", "interval",
        ][..])
        .prop_map(str::to_owned),
        1 => text(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 8, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::hash_map(name.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
