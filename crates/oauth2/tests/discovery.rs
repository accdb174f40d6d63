//! Tests where discovery looks for metadata, and which documents it accepts.

mod support;

use std::error::Error as _;

use http::{HeaderValue, Method, Response};
use serde_json::{Value, json};
use support::{Script, answer};
use token_rotator_oauth2::{
    ANSWER_BYTES_MAX, BuildError, DiscoveryError, IssuerMetadata, NoMetadata, SecretBytes,
    TransportError, authorization_code, device,
};

const ISSUER: &str = "https://issuer.example/tenant";
const FIRST: &str = "https://issuer.example/.well-known/oauth-authorization-server/tenant";
const SECOND: &str = "https://issuer.example/tenant/.well-known/openid-configuration";

fn document() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://issuer.example/authorize?tenant=KEY-7f3a9c",
        "token_endpoint": "https://issuer.example/token",
        "device_authorization_endpoint": "https://issuer.example/device",
        "revocation_endpoint": "https://issuer.example/revoke",
        "introspection_endpoint": "https://elsewhere.example/introspect",
        "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["S256", "plain"],
        "token_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["openid", "read"],
        "grant_types_supported": ["authorization_code"],
    })
}

fn found() -> Script {
    Script::answering(200, &document().to_string())
}

async fn discover(script: &Script) -> Result<IssuerMetadata, DiscoveryError> {
    IssuerMetadata::discover(ISSUER, script).await
}

fn requested_urls(script: &Script) -> Vec<String> {
    let requests = script.requests();
    for request in &requests {
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.headers()["accept"], "application/json");
        assert!(request.body().is_empty());
    }
    let addresses = requests.iter().map(|request| request.uri().to_string());
    addresses.collect()
}

#[tokio::test]
async fn the_document_of_rfc_8414_is_read_in_full() {
    let script = found();
    let issuer = discover(&script).await.unwrap();
    assert_eq!(requested_urls(&script), [FIRST]);
    assert_eq!(issuer.issuer(), Some(ISSUER));
    let endpoints = [
        (
            issuer.authorization_endpoint(),
            "https://issuer.example/authorize?tenant=KEY-7f3a9c",
        ),
        (issuer.token_endpoint(), "https://issuer.example/token"),
        (
            issuer.device_authorization_endpoint(),
            "https://issuer.example/device",
        ),
        (
            issuer.revocation_endpoint(),
            "https://issuer.example/revoke",
        ),
        (
            issuer.introspection_endpoint(),
            "https://elsewhere.example/introspect",
        ),
    ];
    for (endpoint, expected) in endpoints {
        assert_eq!(endpoint.unwrap(), expected);
    }
    assert!(issuer.authorization_response_iss_parameter_supported());
    let strings = |list: Option<&[String]>| list.unwrap().join(" ");
    assert_eq!(
        strings(issuer.code_challenge_methods_supported()),
        "S256 plain"
    );
    assert_eq!(
        strings(issuer.token_endpoint_auth_methods_supported()),
        "none"
    );
    assert_eq!(strings(issuer.scopes_supported()), "openid read");
    assert_eq!(
        strings(issuer.grant_types_supported()),
        "authorization_code"
    );
    let shown = format!("{issuer:?}");
    assert!(
        shown.contains("https://issuer.example/authorize"),
        "{shown}"
    );
    assert!(!shown.contains("KEY-7f3a9c"), "{shown}");
}

#[tokio::test]
async fn missing_fields_stay_missing() {
    let script = Script::answering(200, &json!({"issuer": ISSUER}).to_string());
    let issuer = discover(&script).await.unwrap();
    assert!(issuer.authorization_endpoint().is_none());
    assert!(!issuer.authorization_response_iss_parameter_supported());
    assert!(issuer.code_challenge_methods_supported().is_none());
    assert!(issuer.grant_types_supported().is_none());
}

#[tokio::test]
async fn the_second_address_is_requested_if_the_first_has_no_document() {
    let other = json!({"issuer": "https://issuer.example"}).to_string();
    let cases = [
        answer(404, ""),
        answer(200, "<!doctype html><div id=app></div>"),
        answer(200, "[]"),
        answer(200, r#"{"error":"not_found"}"#),
        answer(302, ""),
        answer(503, ""),
        // The metadata of the host, which may have many issuers.
        answer(200, &other),
    ];
    for first in cases {
        let context = format!("{first:?}");
        let script = Script::default()
            .then(Ok(first))
            .then(Ok(answer(200, &document().to_string())));
        let issuer = discover(&script).await.unwrap();
        assert_eq!(issuer.issuer(), Some(ISSUER), "{context}");
        assert_eq!(requested_urls(&script), [FIRST, SECOND], "{context}");
    }
}

#[tokio::test]
async fn a_document_of_another_issuer_is_refused_and_the_error_names_both() {
    for named in [
        "https://issuer.example/tenant/",
        "https://issuer.example/Tenant",
        "https://ISSUER.example/tenant",
        "https://issuer.example:443/tenant",
        "https://issuer.example/tenan%74",
        "https://evil.example/tenant",
    ] {
        let mut body = document();
        body["issuer"] = json!(named);
        let script = Script::answering(200, &body.to_string()).then(Ok(answer(404, "")));
        let error = discover(&script).await.unwrap_err();
        assert!(
            matches!(&error, DiscoveryError::IssuerMismatch { url, asked, named: shown }
                if url == FIRST && asked == ISSUER && shown == named),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(named) && text.contains(ISSUER), "{text}");
    }
    // The issuer's name contains text that would control or fill a terminal.
    for named in ["\u{1b}[2Jhttps://a", &"x".repeat(201)] {
        let body = json!({ "issuer": named }).to_string();
        let script = Script::answering(200, &body).then(Ok(answer(404, "")));
        let text = discover(&script).await.unwrap_err().to_string();
        assert!(!text.contains(named), "{text}");
        assert!(text.contains("cannot be shown"), "{text}");
    }
}

#[tokio::test]
async fn the_error_without_metadata_lists_every_requested_address() {
    let mut moved = answer(301, "");
    let to = HeaderValue::from_static("https://new.example/meta");
    moved.headers_mut().insert("location", to);
    let script = Script::default().then(Ok(moved)).then(Ok(answer(404, "")));
    let error = discover(&script).await.unwrap_err();
    let DiscoveryError::NoDocument { asked } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(asked[0].0, FIRST);
    assert!(
        matches!(&asked[0].1, NoMetadata::Redirect { location: Some(to) } if to == "https://new.example/meta")
    );
    assert_eq!(
        error.to_string(),
        format!(
            "the issuer has no metadata at {FIRST} (a redirect to https://new.example/meta) or {SECOND} (HTTP 404)"
        )
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("check the issuer URL, or configure"),
        "{hint}"
    );
}

#[tokio::test]
async fn an_unreachable_issuer_gets_no_second_request() {
    let failures = [
        Err(TransportError::not_sent("no route to host")),
        Err(TransportError::maybe_sent("connection reset")),
        Ok(answer(200, &"x".repeat(ANSWER_BYTES_MAX + 1))),
    ];
    for failure in failures {
        let script = Script::default().then(failure);
        let error = discover(&script).await.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(FIRST), "{error}");
        assert!(error.source().is_some());
        assert_eq!(requested_urls(&script), [FIRST]);
    }
}

#[tokio::test]
async fn metadata_with_one_bad_entry() {
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "device_authorization_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
    ] {
        for (url, downgrade) in [
            ("http://issuer.example/x", false),
            ("ftp://issuer.example/x", false),
            ("/x", false),
            ("https://user@issuer.example/x", false),
            ("https://issuer.example/x#y", false),
            ("http://127.0.0.1:8080/x", true),
        ] {
            let mut body = document();
            body[name] = json!(url);
            let script = Script::answering(200, &body.to_string()).then(Ok(answer(404, "")));
            let issuer = discover(&script).await.unwrap();
            let unusable: Vec<_> = issuer.unusable_endpoints().collect();
            let [(which, error)] = unusable[..] else {
                panic!("{name} {url}: {unusable:?}");
            };
            assert_eq!(which.replace(' ', "_"), name);
            let right = match error {
                DiscoveryError::Endpoint { .. } => !downgrade,
                DiscoveryError::Downgrade { .. } => downgrade,
                _ => false,
            };
            assert!(right, "{name} {url}: {error:?}");
            // Only a sign-in that needs the endpoint fails, with the problem of its address.
            let code = authorization_code(&issuer, "client", "http://127.0.0.1/callback");
            let code = code.transport(Script::default()).build().err();
            let device = device(&issuer, "client").transport(Script::default());
            let device = device.build().err();
            let needed_by = match name {
                "authorization_endpoint" => (true, false),
                "token_endpoint" => (true, true),
                "device_authorization_endpoint" => (false, true),
                _ => (false, false),
            };
            assert_eq!(
                (code.is_some(), device.is_some()),
                needed_by,
                "{name} {url}"
            );
            for error in [code, device].into_iter().flatten() {
                assert!(!matches!(error, BuildError::Endpoint { .. }), "{error:?}");
                assert!(error.hint().is_some(), "{error}");
            }
        }
    }
    // An issuer at a loopback address may have loopback endpoints.
    let local = json!({
        "issuer": "http://127.0.0.1:8080",
        "token_endpoint": "http://127.0.0.1:8080/token",
    });
    let script = Script::answering(200, &local.to_string());
    let issuer = IssuerMetadata::discover("http://127.0.0.1:8080", &script).await;
    assert!(issuer.unwrap().token_endpoint().is_some());
}

/// Property: the placeholder of Entra is accepted only for its authorities and only if the caller asks
/// for it. Without that, the hint names both ways that work.
#[tokio::test]
async fn issuer_templates() {
    let document = |named: &str| {
        let document = json!({
            "issuer": named,
            "token_endpoint": "https://login.example/common/oauth2/v2.0/token",
        });
        Script::answering(200, &document.to_string()).then(Ok(answer(404, "")))
    };
    let template = "https://login.example/{tenantid}/v2.0";
    for authority in ["common", "organizations", "consumers"] {
        let issuer = format!("https://login.example/{authority}/v2.0");
        let found = IssuerMetadata::discover_tenants(&issuer, &document(template)).await;
        assert_eq!(found.unwrap().issuer(), Some(template));
        let error = IssuerMetadata::discover(&issuer, &document(template)).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::IssuerMismatch { .. }),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("discover_tenants") && hint.contains("your tenant"),
            "{hint}"
        );
    }
    for (issuer, named) in [
        (
            "https://login.example/common/v2.0",
            "https://evil.example/{tenantid}/v2.0",
        ),
        (
            "https://login.example/common/v2.0",
            "https://login.example/{tenantid}/v1.0",
        ),
        ("https://login.example/a/b/v2.0", template),
        ("https://login.example/other/v2.0", template),
    ] {
        let error = IssuerMetadata::discover_tenants(issuer, &document(named)).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::IssuerMismatch { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_invalid_issuer_url_causes_no_request() {
    let script = Script::default();
    for url in [
        "",
        "issuer.example",
        "http://issuer.example",
        "https://issuer.example#a",
        "https://user:pw@issuer.example",
    ] {
        let error = IssuerMetadata::discover(url, &script).await.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::IssuerUrl(_)),
            "{url}: {error:?}"
        );
        assert!(error.to_string().starts_with("the issuer URL "), "{error}");
    }
    let url = "https://issuer.example/?a=b";
    let error = IssuerMetadata::discover(url, &script).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Query), "{error:?}");
    assert!(requested_urls(&script).is_empty());
}

#[test]
fn manual_metadata_accepts_the_same_addresses() {
    let issuer = IssuerMetadata::new()
        .with_issuer(ISSUER)
        .with_revocation_endpoint("https://issuer.example/revoke")
        .unwrap();
    assert_eq!(issuer.issuer(), Some(ISSUER));
    assert!(issuer.revocation_endpoint().is_some());
    let error = issuer.with_token_endpoint("http://issuer.example/token");
    assert!(matches!(
        error.unwrap_err(),
        BuildError::Url {
            which: "token endpoint",
            ..
        }
    ));
}

/// Property: any answer leads to metadata or a typed error, and metadata keeps only the fields it
/// defines.
#[tokio::test]
async fn any_answer_gives_metadata_or_an_error() {
    for body in [
        "",
        "{",
        "null",
        "{\"issuer\":7}",
        "\u{feff}{}",
        "{\"issuer\":\"\"}",
    ] {
        let both = || Ok(answer(200, body));
        let script = Script::default().then(both()).then(both());
        let error = discover(&script).await.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::NoDocument { .. }),
            "{body}: {error:?}"
        );
    }
    let bytes: Response<SecretBytes> = Response::new(vec![0xff, 0xfe, 0x00].into());
    let script = Script::default().then(Ok(bytes)).then(Ok(answer(404, "")));
    assert!(discover(&script).await.is_err());
}
