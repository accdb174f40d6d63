//! How lists of challenges are read.

use super::*;

/// Property: the lists that RFC 9110 and real servers print are read as their authors meant them.
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
            // A blank before the sign makes a parameter, so does anything after it.
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
            // Quotes that were not escaped.
            &[r#"Bearer error_description="bad "access" token", error="invalid_token""#],
            &[challenge(
                "bearer",
                None,
                &[("error_description", "bad "), ("error", "invalid_token")],
            )],
        ),
        (
            // Debris, quoted or not, and what stands in it.
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
        // `Debug` hides the values, and a failure of this test should show them.
        let parsed = parse(&headers(fields));
        let shown: Vec<_> = parsed
            .iter()
            .map(|c| (&c.scheme, &c.token68, &c.params))
            .collect();
        assert!(parsed == *expected, "{fields:?} was read as {shown:?}");
    }
}

/// Property: bytes that are not UTF-8 are replaced, and spoil nothing around them.
#[test]
fn reads_bytes_that_are_no_text() {
    let mut headers = HeaderMap::new();
    let field = HeaderValue::from_bytes(b"Bearer realm=\"J\xf6rg\", error=\"insufficient_scope\"")
        .expect("obs-text");
    headers.insert(WWW_AUTHENTICATE, field);
    assert_eq!(parse(&headers)[0].param("REALM"), Some("J\u{fffd}rg"));
    assert_eq!(judge(StatusCode::UNAUTHORIZED, &headers), SCOPE);
}

/// Property: no value of a challenge is in its `Debug`, for servers quote tokens there (rule 12).
#[test]
fn debug_shows_no_value() {
    let headers = headers(&[r#"Bearer error_description="canary is expired", Negotiate canary=="#]);
    let shown = format!("{:?}", parse(&headers));
    assert!(!shown.contains("canary"), "{shown}");
    assert!(
        shown.contains("bearer") && shown.contains("error_description"),
        "{shown}"
    );
}
