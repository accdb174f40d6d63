use http::HeaderValue;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn headers(fields: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_bytes(field.as_bytes()).expect(field),
        );
    }
    headers
}

fn judged(fields: &[&str]) -> Verdict {
    judge(StatusCode::UNAUTHORIZED, &headers(fields))
}

fn challenge(scheme: &str, token68: Option<&str>, params: &[(&str, &str)]) -> Challenge {
    Challenge {
        scheme: scheme.into(),
        token68: token68.map(Into::into),
        params: params
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect(),
    }
}

const SCOPE: Verdict = Verdict::NotAboutToken {
    error: BearerError::InsufficientScope,
};
const REQUEST: Verdict = Verdict::NotAboutToken {
    error: BearerError::InvalidRequest,
};

/// Property: a 401 as real servers send it is a reason to refresh unless its Bearer challenge
/// names a reason that a new token does not cure.
#[test]
fn judges_what_real_servers_send() {
    use Verdict::RefreshToken;
    let cases: &[(&str, &[&str], Verdict)] = &[
        ("GitHub API, `Bad credentials`", &[], RefreshToken),
        ("an empty field", &[""], RefreshToken),
        ("Spring, no token", &["Bearer"], RefreshToken),
        (
            "Spring, expired",
            &[
                r#"Bearer error="invalid_token", error_description="An error occurred while attempting to decode the Jwt: Jwt expired at 2020-01-01T00:00:00Z", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1""#,
            ],
            RefreshToken,
        ),
        (
            "ASP.NET Core",
            &[
                r#"Bearer error="invalid_token", error_description="The token expired at '01/01/2020 00:00:00'""#,
            ],
            RefreshToken,
        ),
        (
            "Entra: Azure Resource Manager",
            &[
                r#"Bearer authorization_uri="https://login.windows.net/common", error="invalid_token", error_description="The access token expiry UTC time '1/1/2020' is earlier than current UTC time.""#,
            ],
            RefreshToken,
        ),
        (
            "Entra: Key Vault, no error",
            &[
                r#"Bearer authorization="https://login.windows.net/72f988bf", resource="https://vault.azure.net""#,
            ],
            RefreshToken,
        ),
        (
            "Entra: continuous access evaluation",
            &[
                r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ==""#,
            ],
            RefreshToken,
        ),
        (
            "Google",
            &[r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#],
            RefreshToken,
        ),
        (
            "Keycloak",
            &[
                r#"Bearer realm="demo", error="invalid_token", error_description="Token verification failed""#,
            ],
            RefreshToken,
        ),
        (
            "Keycloak, no token",
            &[r#"Bearer realm="demo""#],
            RefreshToken,
        ),
        ("AWS HTTP API, no token", &["Bearer"], RefreshToken),
        (
            "AWS HTTP API: parameters without commas",
            &[r#"Bearer scope="" error="invalid_token" error_description="the token has expired""#],
            RefreshToken,
        ),
        (
            "AWS HTTP API's style, scope",
            &[
                r#"Bearer scope="read write" error="insufficient_scope" error_description="insufficient scope""#,
            ],
            SCOPE,
        ),
        (
            "GitLab",
            &[
                r#"Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description="Token is expired. You can either do re-authorization or token refresh.""#,
            ],
            RefreshToken,
        ),
        (
            "GitLab, scope",
            &[
                r#"Bearer realm="Protected by OAuth 2.0", error="insufficient_scope", error_description="The request requires higher privileges than provided by the access token.", scope="api""#,
            ],
            SCOPE,
        ),
        (
            "Docker registry",
            &[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push",error="insufficient_scope""#,
            ],
            SCOPE,
        ),
        (
            "GitHub MCP server, no token",
            &[
                r#"Bearer error="invalid_request", error_description="No access token was provided in this request", resource_metadata="https://api.githubcopilot.com/.well-known/oauth-protected-resource/mcp/""#,
            ],
            REQUEST,
        ),
        (
            "Django REST framework",
            &[r#"JWT realm="api""#],
            RefreshToken,
        ),
        ("Rails", &[r#"Token realm="Application""#], RefreshToken),
        ("git over HTTP", &[r#"Basic realm="GitHub""#], RefreshToken),
        (
            "Exchange",
            &["Negotiate", "NTLM", r#"Basic realm="mail.example.com""#],
            RefreshToken,
        ),
        (
            "RFC 9449 section 7.1",
            &[r#"DPoP error="invalid_token", algs="ES256 PS256""#],
            RefreshToken,
        ),
        (
            "RFC 9449 section 7.2",
            &[r#"Bearer, DPoP algs="ES256 PS256""#],
            RefreshToken,
        ),
        (
            "an error of another scheme is no Bearer error",
            &[r#"DPoP error="insufficient_scope""#],
            RefreshToken,
        ),
        (
            "two in one field",
            &[r#"Basic realm="a, b", Bearer error="invalid_token""#],
            RefreshToken,
        ),
        (
            "two in one field, scope",
            &[r#"Basic realm="a, b", Bearer error="insufficient_scope""#],
            SCOPE,
        ),
        (
            "a reason beats silence",
            &["Bearer", r#"Bearer error="insufficient_scope""#, "Bearer"],
            SCOPE,
        ),
        (
            "invalid_token beats all",
            &[
                r#"Bearer error="insufficient_scope", Bearer error="insufficient_user_authentication""#,
                r#"Bearer error="invalid_token""#,
                r#"Bearer error="invalid_request""#,
            ],
            RefreshToken,
        ),
        (
            "the first of two reasons",
            &[r#"Bearer error="invalid_request", Bearer error="insufficient_scope""#],
            REQUEST,
        ),
        (
            "an unknown code",
            &[r#"Bearer error="token_expired""#],
            RefreshToken,
        ),
        ("an empty code", &[r#"Bearer error="""#], RefreshToken),
        ("unquoted", &["Bearer error=insufficient_scope"], SCOPE),
        (
            "any case, blanks around the sign",
            &["bEARER Error\t= \"Insufficient_Scope\""],
            SCOPE,
        ),
        ("escapes", &[r#"Bearer error="insufficient\_scope""#], SCOPE),
        (
            "the second parameter of one name",
            &[r#"Bearer error="insufficient_scope", error="invalid_token""#],
            SCOPE,
        ),
        (
            "a parameter in a field of its own",
            &["Bearer realm=\"x\"", "error=\"insufficient_scope\""],
            SCOPE,
        ),
        (
            "a code inside a description",
            &[r#"Bearer error_description="error=\"insufficient_scope\", Bearer""#],
            RefreshToken,
        ),
        ("cut off", &[r#"Bearer error="insufficient_scope"#], SCOPE),
        (
            "no scheme at all",
            &[r#"error="insufficient_scope""#],
            RefreshToken,
        ),
    ];
    for (name, fields, verdict) in cases {
        assert_eq!(judged(fields), *verdict, "{name}");
    }
}

/// Property: a step-up challenge yields every requirement that can be read, and no refresh.
#[test]
fn step_up_carries_what_is_asked() {
    let step_up = |acr: Option<&str>, max_age, scope: Option<&str>| {
        Verdict::StepUp(StepUp {
            acr_values: acr.map(Into::into),
            max_age,
            scope: scope.map(Into::into),
        })
    };
    let cases: &[(&str, Verdict)] = &[
        (
            r#"Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR""#,
            step_up(Some("myACR"), None, None),
        ),
        (
            r#"Bearer error="insufficient_user_authentication", error_description="More recent authentication is required", max_age="5""#,
            step_up(None, Some(5), None),
        ),
        (
            r#"Bearer realm="x", scope="pay read", max_age=0, error=insufficient_user_authentication, acr_values="gold silver""#,
            step_up(Some("gold silver"), Some(0), Some("pay read")),
        ),
        (
            r#"Bearer error="insufficient_user_authentication", acr_values="", max_age="-5""#,
            step_up(None, None, None),
        ),
        (
            r#"Bearer error="insufficient_user_authentication", max_age="99999999999999999999999""#,
            step_up(None, None, None),
        ),
        (
            r#"Bearer error="insufficient_scope", Bearer error="insufficient_user_authentication", max_age=1, Bearer error="insufficient_user_authentication", max_age=2"#,
            step_up(None, Some(1), None),
        ),
    ];
    for (field, verdict) in cases {
        assert_eq!(judged(&[field]), *verdict, "{field}");
    }
}

/// Property: the message of a step-up says what to do, and all that is asked and nothing else.
#[test]
fn step_up_says_what_is_asked() {
    let text = "the API wants the user to sign in again, no other token of this sign-in will do";
    assert_eq!(StepUp::default().to_string(), text);
    let all = StepUp {
        acr_values: Some("gold silver".into()),
        max_age: Some(5),
        scope: Some("pay".into()),
    };
    assert_eq!(
        all.to_string(),
        format!("{text}; acr_values: gold silver; max_age: 5 s; scope: pay")
    );
}

/// Property: no status but 401 is ever a refusal of the token, whatever the challenges say.
#[test]
fn only_a_401_is_judged() {
    for status in 100..1000 {
        let status = StatusCode::from_u16(status).expect("three digits");
        if status == StatusCode::UNAUTHORIZED {
            continue;
        }
        for error in [
            "invalid_token",
            "insufficient_scope",
            "insufficient_user_authentication",
        ] {
            let headers = headers(&[&format!("Bearer error={error}")]);
            assert_eq!(judge(status, &headers), Verdict::None, "{status} {error}");
        }
    }
}

/// Property: what counts as a refusal by whoever says so is judged as a 401 is, and always is one.
#[test]
fn a_refusal_of_any_status_is_judged_as_a_401() {
    for fields in [
        &[][..],
        &["Basic"],
        &["Bearer error=invalid_token"],
        &["Bearer error=insufficient_scope"],
        &["Bearer error=invalid_request"],
        &["Bearer error=insufficient_user_authentication, max_age=5"],
    ] {
        let headers = headers(fields);
        let verdict = judge_refusal(&headers);
        assert_eq!(verdict, judged(fields), "{fields:?}");
        assert_ne!(verdict, Verdict::None, "{fields:?}");
    }
}

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

/// Property: a gRPC refusal is status 16 and nothing else; in headers only of a gRPC answer.
#[test]
fn judges_grpc() {
    let cases = [
        (Some("application/grpc"), Some("16"), true, true),
        (Some("application/grpc+proto"), Some("16"), true, true),
        (
            Some("Application/GRPC; charset=utf-8"),
            Some("16"),
            true,
            true,
        ),
        (Some("application/grpc-web+proto"), Some("16"), true, true),
        (Some("application/grpcx"), Some("16"), false, true),
        (Some("application/json"), Some("16"), false, true),
        (Some("application/grp"), Some("16"), false, true),
        (None, Some("16"), false, true),
        (Some("application/grpc"), Some("7"), false, false),
        (Some("application/grpc"), Some("160"), false, false),
        (Some("application/grpc"), Some("0"), false, false),
        (Some("application/grpc"), None, false, false),
    ];
    for (kind, status, in_headers, in_trailers) in cases {
        let mut map = HeaderMap::new();
        if let Some(kind) = kind {
            map.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(status) = status {
            map.insert(&GRPC_STATUS, HeaderValue::from_static(status));
        }
        assert_eq!(judge_grpc(&map), in_headers, "headers {kind:?} {status:?}");
        assert_eq!(
            judge_grpc_trailers(&map),
            in_trailers,
            "trailers {kind:?} {status:?}"
        );
    }
}

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
