//! What holds of any header fields.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const TOKEN: &str = "[a-z0-9!#$%&'*+.^_`|~-]{1,8}";
// Everything a header value may hold; DEL and controls may not.
const VALUE: &str = "[ -~\t\u{a0}-\u{17f}]{0,12}";

/// A challenge, and it as a server might print it.
fn printed() -> impl Strategy<Value = (Challenge, String)> {
    let blank = || select(vec!["", "", " ", "\t", "  "]);
    let separator = select(vec![",", ", ", " , ", ",,\t,"]);
    let param = (TOKEN, VALUE, any::<bool>(), blank(), blank(), separator);
    let body = prop_oneof![
        3 => prop::collection::vec(param, 0..4).prop_map(Ok),
        1 => "[A-Za-z0-9._~+/-]{1,8}={0,2}".prop_map(Err),
    ];
    (TOKEN, any::<bool>(), body).prop_map(|(scheme, upper, body)| {
        let cased = |name: &str| {
            if upper {
                name.to_ascii_uppercase()
            } else {
                name.to_owned()
            }
        };
        let mut text = cased(&scheme);
        let mut challenge = Challenge {
            scheme,
            token68: None,
            params: Vec::new(),
        };
        match body {
            Err(token68) => {
                text = format!("{text} {token68}");
                challenge.token68 = Some(token68);
            }
            Ok(params) => {
                for (name, value, quote, before, after, separator) in params {
                    let separator = if challenge.params.is_empty() {
                        " "
                    } else {
                        separator
                    };
                    let written = if quote || value.is_empty() || !value.bytes().all(is_token) {
                        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
                    } else {
                        value.clone()
                    };
                    text = format!("{text}{separator}{}{before}={after}{written}", cased(&name));
                    challenge.params.push((name, value));
                }
            }
        }
        (challenge, text)
    })
}

/// Challenges, and the fields they might be spread over: each in a new one, or behind a comma.
fn spread() -> impl Strategy<Value = (Vec<Challenge>, Vec<String>)> {
    let gap = select(vec![None, Some(","), Some(", "), Some(" ,, ")]);
    prop::collection::vec((printed(), gap), 0..5).prop_map(|list| {
        let mut challenges = Vec::new();
        let mut fields: Vec<String> = Vec::new();
        for ((challenge, text), gap) in list {
            match (fields.last_mut(), gap) {
                (Some(field), Some(gap)) => *field = format!("{field}{gap}{text}"),
                _ => fields.push(text),
            }
            challenges.push(challenge);
        }
        (challenges, fields)
    })
}

fn appended(fields: &[String]) -> HeaderMap {
    headers(&fields.iter().map(String::as_str).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Property: no header field makes the parser panic, and whatever it reads is well formed.
    #[test]
    fn survives_any_bytes(fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
        let mut headers = HeaderMap::new();
        for field in &fields {
            let legal: Vec<u8> = field.iter().copied().filter(|&b| b == b'\t' || (b >= b' ' && b != 127)).collect();
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(&legal).expect("legal bytes"));
        }
        check_form(&parse(&headers))?;
        judge(StatusCode::UNAUTHORIZED, &headers);
    }

    /// The same over the bytes that mean something to the parser, where the branches are.
    #[test]
    fn survives_any_syntax(fields in prop::collection::vec("[Ba\"\\\\=, \t;/]{0,24}", 0..4)) {
        let headers = appended(&fields);
        check_form(&parse(&headers))?;
        judge(StatusCode::UNAUTHORIZED, &headers);
    }

    /// Property: whatever list of challenges a server prints within the grammar is read back.
    #[test]
    fn reads_back_what_was_printed((challenges, fields) in spread()) {
        let parsed = parse(&appended(&fields));
        prop_assert!(parsed == challenges, "{:?} was read as {:?}", fields, parsed);
    }

    /// Property: a field of garbage takes nothing from the fields before it.
    #[test]
    fn garbage_takes_nothing_away((challenges, mut fields) in spread(), garbage in "[ -~\t]{0,40}") {
        fields.push(garbage);
        let parsed = parse(&appended(&fields));
        prop_assert!(parsed.len() >= challenges.len());
        for (index, (known, found)) in challenges.iter().zip(&parsed).enumerate() {
            prop_assert_eq!(&known.scheme, &found.scheme);
            prop_assert_eq!(&known.token68, &found.token68);
            prop_assert!(found.params.starts_with(&known.params));
            let last = index + 1 == challenges.len();
            prop_assert!(last || found.params.len() == known.params.len());
        }
    }

    /// Property: without a Bearer challenge every 401 asks for a refresh, and one `invalid_token`
    /// anywhere does, whatever stands around it.
    #[test]
    fn hopes_where_it_may((challenges, mut fields) in spread(), at in any::<prop::sample::Index>()) {
        prop_assume!(challenges.iter().all(|challenge| challenge.scheme != "bearer"));
        prop_assert_eq!(judge(StatusCode::UNAUTHORIZED, &appended(&fields)), Verdict::RefreshToken);
        let at = at.index(fields.len() + 1);
        fields.insert(at, "Bearer error=\"insufficient_scope\"".into());
        prop_assert_eq!(judge(StatusCode::UNAUTHORIZED, &appended(&fields)), SCOPE);
        fields.insert(at, "bearer error=invalid_token, Bearer error=invalid_request".into());
        prop_assert_eq!(judge(StatusCode::UNAUTHORIZED, &appended(&fields)), Verdict::RefreshToken);
    }
}

fn check_form(challenges: &[Challenge]) -> Result<(), TestCaseError> {
    for challenge in challenges {
        let names = challenge
            .params()
            .map(|(name, _)| name)
            .chain([challenge.scheme()]);
        for name in names {
            prop_assert!(
                !name.is_empty() && name.bytes().all(is_token),
                "{:?}",
                challenge
            );
            prop_assert_eq!(name, name.to_ascii_lowercase());
        }
    }
    Ok(())
}
