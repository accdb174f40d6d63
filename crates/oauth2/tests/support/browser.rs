//! A sign-in with a browser up to its authorization request.

use std::collections::BTreeMap;

use token_rotator_oauth2::{
    AuthorizationCodeGrant, AuthorizationRequest, IssuerMetadata, SignInBuilder, TransportMissing,
    authorization_code,
};

use super::Script;

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const CALLBACK: &str = "http://127.0.0.1:49152/callback";

pub(crate) fn metadata() -> IssuerMetadata {
    let issuer = IssuerMetadata::new().with_issuer(ISSUER);
    let issuer = issuer.with_authorization_endpoint("https://issuer.example/authorize?tenant=a");
    let issuer = issuer
        .unwrap()
        .with_token_endpoint("https://issuer.example/token");
    issuer.unwrap()
}

pub(crate) fn builder() -> SignInBuilder<AuthorizationCodeGrant, TransportMissing> {
    authorization_code(&metadata(), "client", CALLBACK).scope("openid read")
}

pub(crate) fn begin(script: &Script) -> AuthorizationRequest {
    let grant = builder().transport(script.clone()).build().unwrap();
    grant.begin().unwrap()
}

pub(crate) fn query(request: &AuthorizationRequest) -> BTreeMap<String, String> {
    let (_, query) = request.url().split_once('?').unwrap();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "each once");
    map
}

pub(crate) fn state(request: &AuthorizationRequest) -> String {
    query(request).remove("state").unwrap()
}
