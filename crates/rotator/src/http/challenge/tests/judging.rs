//! The verdicts on answers.

use super::*;

const REQUEST: Verdict = Verdict::NotAboutToken {
    error: BearerError::InvalidRequest,
};

/// Property: a 401 of a real server asks for a refresh unless its Bearer challenge names a reason
/// that a new token does not cure.
#[test]
fn judges_the_answers_of_real_servers() {
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
            "the error of another scheme is not a Bearer error",
            &[r#"DPoP error="insufficient_scope""#],
            RefreshToken,
        ),
        (
            "two challenges in one field",
            &[r#"Basic realm="a, b", Bearer error="invalid_token""#],
            RefreshToken,
        ),
        (
            "two challenges in one field, scope",
            &[r#"Basic realm="a, b", Bearer error="insufficient_scope""#],
            SCOPE,
        ),
        (
            "a challenge with a reason decides before challenges without",
            &["Bearer", r#"Bearer error="insufficient_scope""#, "Bearer"],
            SCOPE,
        ),
        (
            "invalid_token decides before all other errors",
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
        (
            "an unquoted code",
            &["Bearer error=insufficient_scope"],
            SCOPE,
        ),
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
            "a parameter in the next field",
            &["Bearer realm=\"x\"", "error=\"insufficient_scope\""],
            SCOPE,
        ),
        (
            "a code inside a description",
            &[r#"Bearer error_description="error=\"insufficient_scope\", Bearer""#],
            RefreshToken,
        ),
        (
            "an unclosed quote",
            &[r#"Bearer error="insufficient_scope"#],
            SCOPE,
        ),
        (
            "a parameter without a scheme",
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
fn step_up_carries_its_requirements() {
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

/// Property: the message of a step-up names the action and every requirement, and nothing else.
#[test]
fn message_of_a_step_up_names_its_requirements() {
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

/// Property: an answer with another status than 401 refuses nothing, whatever its challenges say.
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

/// Property: `judge_refusal` gives every answer the verdict of a 401, and never `None`.
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

/// Property: only status 16 is a gRPC refusal, and in headers only if the answer is gRPC.
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
