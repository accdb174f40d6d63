//! The expiry that a token states if it is a JWT.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Map, Value};

/// The longest payload that is read, in decoded bytes.
const LONGEST_PAYLOAD: usize = 16 * 1024;

/// The end of the year 9999 in Unix milliseconds. Later dates are mistakes, such as an `exp` in
/// milliseconds.
const END_OF_TIME: u64 = 253_402_300_800_000;

/// The lifetime that a JWT states, unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// `exp` in milliseconds since the Unix epoch (RFC 7519 section 4.1.4).
    pub expires_at_unix_ms: u64,
    /// `iat` in milliseconds since the Unix epoch (RFC 7519 section 4.1.6). `None` if it is missing,
    /// not a date or not before `exp`.
    pub issued_at_unix_ms: Option<u64>,
}

/// Reads the expiry of a JWT in JWS compact serialisation. Returns [`None`] for any other token.
///
/// **The expiry is only a hint.** The function checks no signature, issuer or audience. Use the
/// hint to decide *when to refresh*, never whether to trust the token: the upstream decides that.
/// If the issuer's answer has an expiry, prefer that expiry.
///
/// `exp` is a `NumericDate` (RFC 7519 section 2), whole or fractional; fractions of a millisecond
/// are cut off. Returns [`None`] if `exp` is not a number, is not after 1970 or is after the year
/// 9999. Returns [`None`] for a payload of more than 16 KiB and for an encrypted token (JWE).
pub fn expiry_hint(token: &str) -> Option<Hint> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // RFC 7515 section 2 omits padding, but many encoders add it.
    let payload = payload.trim_end_matches('=');
    if payload.len() > (LONGEST_PAYLOAD * 4).div_ceil(3) {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    let expires_at_unix_ms = numeric_date(claims.get("exp")?)?;
    let issued_at_unix_ms = claims
        .get("iat")
        .and_then(numeric_date)
        .filter(|&issued| issued < expires_at_unix_ms);
    Some(Hint {
        expires_at_unix_ms,
        issued_at_unix_ms,
    })
}

/// Converts a `NumericDate` to whole milliseconds. Returns `None` unless it is after 1970 and before
/// the year 10000.
fn numeric_date(claim: &Value) -> Option<u64> {
    let since_epoch = match claim.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(claim.as_f64()?).ok()?,
    };
    let milliseconds = u64::try_from(since_epoch.as_millis()).ok()?;
    (1..END_OF_TIME)
        .contains(&milliseconds)
        .then_some(milliseconds)
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE;
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.c2lnbmF0dXJl",
            part(r#"{"alg":"HS256"}"#),
            part(claims)
        )
    }

    /// The expected result of [`expiry_hint`]. An `Option`, because tests compare it with one.
    #[allow(clippy::unnecessary_wraps)]
    fn hint(expires_at_unix_ms: u64, issued_at_unix_ms: impl Into<Option<u64>>) -> Option<Hint> {
        Some(Hint {
            expires_at_unix_ms,
            issued_at_unix_ms: issued_at_unix_ms.into(),
        })
    }

    /// Property: dates between 1970 and 9999 in `exp` and `iat` are read, and all others are ignored.
    #[test]
    fn reads_dates_from_1970_to_9999_only() {
        let cases = [
            (r#"{"exp":1300819380}"#, hint(1_300_819_380_000, None)),
            (
                r#"{"iat":1300815780,"exp":1300819380,"nbf":"x"}"#,
                hint(1_300_819_380_000, 1_300_815_780_000),
            ),
            (
                r#"{"exp":1300819380.25,"iat":1300815780.5}"#,
                hint(1_300_819_380_250, 1_300_815_780_500),
            ),
            (r#"{"exp":1.30081938e9}"#, hint(1_300_819_380_000, None)),
            (r#"{"exp":0.0019}"#, hint(1, None)),
            (r#"{"exp":253402300799}"#, hint(253_402_300_799_000, None)),
            (r#"{"exp":253402300799.5}"#, hint(253_402_300_799_500, None)),
            (r#"{"exp":253402300800}"#, None),
            (r#"{"exp":253402300800.5}"#, None),
            (r#"{"exp":1300819380000}"#, None),
            (r#"{"exp":18446744073709551615}"#, None),
            (r#"{"exp":1e300}"#, None),
            (r#"{"exp":1e999}"#, None),
            (r#"{"exp":NaN}"#, None),
            (r#"{"exp":0}"#, None),
            (r#"{"exp":-0.0}"#, None),
            (r#"{"exp":0.0001}"#, None),
            (r#"{"exp":-1}"#, None),
            (r#"{"exp":-1300819380.5}"#, None),
            (r#"{"exp":"1300819380"}"#, None),
            (r#"{"exp":null}"#, None),
            (r#"{"exp":[1300819380]}"#, None),
            (r#"{"iat":1300819380}"#, None),
            (r#"{"exp":10,"iat":-1}"#, hint(10_000, None)),
            (r#"{"exp":10,"iat":"9"}"#, hint(10_000, None)),
            (r#"{"exp":10,"iat":10}"#, hint(10_000, None)),
            (r#"{"exp":10,"iat":11}"#, hint(10_000, None)),
            // RFC 7519 section 4: if a claim occurs twice, the last value counts.
            (r#"{"exp":10,"exp":20}"#, hint(20_000, None)),
            (r"{}", None),
            (r"[]", None),
            (r"10", None),
            (r"", None),
            (r#"{"exp":10"#, None),
        ];
        for (claims, expected) in cases {
            assert_eq!(expiry_hint(&jwt(claims)), expected, "{claims}");
        }
    }

    /// Property: only a JWS with its three parts is read. Its signature does not matter.
    #[test]
    fn reads_only_jws() {
        // RFC 7519 section 3.1, line breaks in the payload included, and section 6.1.
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
        assert_eq!(expiry_hint(signed), hint(1_300_819_380_000, None));
        assert_eq!(expiry_hint(unsecured), hint(1_300_819_380_000, None));

        let payload = signed.split('.').nth(1).expect("a payload");
        for other in [
            "",
            ".",
            "..",
            "...",
            "opaque",
            "ya29.a0AfH6",
            "a.b.c",
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        ] {
            assert_eq!(expiry_hint(other), None, "{other}");
        }
        for jwe in [
            format!("a.{payload}"),
            format!("a.{payload}.c.d"),
            format!("a.b.{payload}.d.e"),
        ] {
            assert_eq!(expiry_hint(&jwe), None, "{jwe}");
        }
    }

    /// Property: padding, which RFC 7515 omits, does not change the hint.
    #[test]
    fn padding_is_accepted() {
        for claims in [r#"{"exp":10}"#, r#"{"exp":10 }"#, r#"{"exp":10  }"#] {
            let padded = format!("h.{}.s", BASE64_URL_SAFE.encode(claims));
            assert_eq!(expiry_hint(&padded), hint(10_000, None), "{claims}");
        }
    }

    /// Property: a payload of 16 KiB is read, and a payload that is one byte longer is not.
    #[test]
    fn payload_is_bounded() {
        let claims = |length: usize| format!("{:<length$}", r#"{"exp":10}"#);
        assert_eq!(
            expiry_hint(&jwt(&claims(LONGEST_PAYLOAD))),
            hint(10_000, None)
        );
        assert_eq!(expiry_hint(&jwt(&claims(LONGEST_PAYLOAD + 1))), None);
        let padded = BASE64_URL_SAFE.encode(claims(LONGEST_PAYLOAD));
        assert_eq!(expiry_hint(&format!("h.{padded}.s")), hint(10_000, None));
        assert_eq!(expiry_hint(&jwt(&"[".repeat(LONGEST_PAYLOAD))), None);
    }

    proptest! {
        /// Property: no text makes `expiry_hint` panic.
        #[test]
        fn survives_any_text(text in "\\PC{0,80}", dotted in "[a-zA-Z0-9_=-]{0,20}(\\.[a-zA-Z0-9_=-]{0,20}){0,4}", claims in ".{0,40}") {
            expiry_hint(&text);
            expiry_hint(&dotted);
            expiry_hint(&jwt(&claims));
        }

        /// Property: every whole second up to the year 9999 is read exactly, and no other integer.
        #[test]
        fn whole_seconds_are_exact(exp in any::<i64>(), sane in 1_u64..253_402_300_800) {
            let expected = u64::try_from(exp).ok().filter(|exp| (1..253_402_300_800).contains(exp));
            prop_assert_eq!(expiry_hint(&jwt(&format!("{{\"exp\":{exp}}}"))), expected.and_then(|exp| hint(exp * 1_000, None)));
            prop_assert_eq!(expiry_hint(&jwt(&format!("{{\"exp\":{sane}}}"))), hint(sane * 1_000, None));
        }
    }
}
