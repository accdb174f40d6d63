//! The parser for lists of challenges.

use super::*;

/// Property: the parser reads the lists of RFC 9110 and of real servers as their authors meant them.
#[test]
fn reads_lists_of_challenges() {
    let cases: &[(&[&str], &[Challenge])] = &[
        (
            // RFC 9110 section 11.6.1.
            &[r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#],
            &[
                challenge("basic", None, &[("realm", "simple")]),
                challenge(
                    "newauth",
                    None,
                    &[
                        ("realm", "apps"),
                        ("type", "1"),
                        ("title", "Login to \"apps\""),
                    ],
                ),
            ],
        ),
        (
            &["Negotiate YII+/~-._==", " ,, ,NTLM\t, Bearer ,, a=1 ,", ""],
            &[
                challenge("negotiate", Some("YII+/~-._=="), &[]),
                challenge("ntlm", None, &[]),
                challenge("bearer", None, &[("a", "1")]),
            ],
        ),
        (
            &[r#"Digest realm="x",qop="auth, auth-int",nonce=abc/def==,Negotiate a=, Basic"#],
            &[
                challenge(
                    "digest",
                    None,
                    &[
                        ("realm", "x"),
                        ("qop", "auth, auth-int"),
                        ("nonce", "abc/def=="),
                    ],
                ),
                challenge("negotiate", Some("a="), &[]),
                challenge("basic", None, &[]),
            ],
        ),
        (
            // A blank before `=`, or any text after it, makes a parameter of the word.
            &["Bearer realm = , x=,y=1"],
            &[challenge(
                "bearer",
                None,
                &[("realm", ""), ("x", ""), ("y", "1")],
            )],
        ),
        (
            &[r"Bearer realm=https://example.com/a; error=invalid_token"],
            &[challenge(
                "bearer",
                None,
                &[
                    ("realm", "https://example.com/a"),
                    ("error", "invalid_token"),
                ],
            )],
        ),
        (
            // Unescaped quotes.
            &[r#"Bearer error_description="bad "access" token", error="invalid_token""#],
            &[challenge(
                "bearer",
                None,
                &[("error_description", "bad "), ("error", "invalid_token")],
            )],
        ),
        (
            // Garbage, quoted or not, that contains words and parameters.
            &[r#"Basic/abc, Bearer "a, Basic, error=x" b, error=y"#],
            &[
                challenge("basic", None, &[]),
                challenge("bearer", None, &[("error", "y")]),
            ],
        ),
        (
            &["Bearer: error=x"],
            &[challenge("bearer", None, &[("error", "x")])],
        ),
        (
            &["Bearer realm=\"J\u{f6}rg\""],
            &[challenge("bearer", None, &[("realm", "J\u{f6}rg")])],
        ),
        (
            // An open quote ends with its field.
            &[r#"Basic realm="open, Bearer error=x"#, "Bearer error=y"],
            &[
                challenge("basic", None, &[("realm", "open, Bearer error=x")]),
                challenge("bearer", None, &[("error", "y")]),
            ],
        ),
        (
            &[r#"Bearer a="\"#],
            &[challenge("bearer", None, &[("a", "")])],
        ),
        (&["=", "\"", "a=b", ";;"], &[]),
    ];
    for (fields, expected) in cases {
        // `Debug` of a challenge hides the values, but a failure of this test should show them.
        let parsed = parse(&headers(fields));
        let shown: Vec<_> = parsed
            .iter()
            .map(|c| (&c.scheme, &c.token68, &c.params))
            .collect();
        assert!(parsed == *expected, "{fields:?} was read as {shown:?}");
    }
}

/// Property: the parser replaces bytes that are not UTF-8 and reads the text around them.
#[test]
fn replaces_bytes_that_are_not_utf_8() {
    let mut headers = HeaderMap::new();
    let field = HeaderValue::from_bytes(b"Bearer realm=\"J\xf6rg\", error=\"insufficient_scope\"")
        .expect("obs-text");
    headers.insert(WWW_AUTHENTICATE, field);
    assert_eq!(parse(&headers)[0].param("REALM"), Some("J\u{fffd}rg"));
    assert_eq!(judge(StatusCode::UNAUTHORIZED, &headers), SCOPE);
}

/// Property: `Debug` of a challenge shows no value, because servers quote tokens there (rule 12).
#[test]
fn debug_of_a_challenge_shows_no_value() {
    let headers = headers(&[r#"Bearer error_description="canary is expired", Negotiate canary=="#]);
    let shown = format!("{:?}", parse(&headers));
    assert!(!shown.contains("canary"), "{shown}");
    assert!(
        shown.contains("bearer") && shown.contains("error_description"),
        "{shown}"
    );
}
