//! `POST /token`, `POST /revoke` and `POST /introspect`.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::issuer::IssuerShared;
use crate::issuer::client::RegisteredClient;
use crate::issuer::database::{
    CodeRedemption, IssuedTokens, Redemption, TokenDatabase, TokenValidity,
};
use crate::issuer::form::FormParameters;
use crate::issuer::refresh::TokenRequest;
use crate::issuer::refusal::Refusal;
use crate::response::{self, HttpResponse};
use crate::server::connection::Connection;

impl IssuerShared {
    pub(super) async fn token(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> HttpResponse {
        self.database().count_token_request();
        let headers = request.headers().clone();
        let form = match FormParameters::read(request).await {
            Ok(form) => form,
            Err(refusal) => return refusal.response(),
        };
        let grant = TokenGrant { headers, form };
        if matches!(
            grant.form.get("grant_type"),
            Some("refresh_token" | "client_credentials")
        ) {
            return self.serve_token_request(grant, connection).await;
        }
        // A sign-in passes no gate and draws no fault, so that a test can sign in after it has set up gates and faults.
        let now = self.clock.now();
        let outcome = grant.redeem(&self, &mut self.database(), now);
        self.token_response(&grant, outcome, None)
    }

    pub(super) async fn revoke(self: Arc<Self>, request: Request<Incoming>) -> HttpResponse {
        self.database().count_revoke_call();
        let headers = request.headers().clone();
        let revoked = async {
            let form = FormParameters::read(request).await?;
            let client = self.clients.authenticate(&headers, &form)?;
            let token = form.require("token")?;
            self.database().revoke_token(token, &client.id);
            Ok::<_, Refusal>(())
        };
        match revoked.await {
            // RFC 7009 section 2.2: revoking an unknown token succeeds.
            Ok(()) => response::empty(StatusCode::OK),
            Err(refusal) => refusal.response(),
        }
    }

    pub(super) async fn introspect(self: Arc<Self>, request: Request<Incoming>) -> HttpResponse {
        let headers = request.headers().clone();
        let described = async {
            let form = FormParameters::read(request).await?;
            self.clients.authenticate(&headers, &form)?;
            Ok::<_, Refusal>(self.describe(form.require("token")?))
        };
        match described.await {
            Ok(description) => response::no_store(response::json(StatusCode::OK, &description)),
            Err(refusal) => refusal.response(),
        }
    }

    fn describe(&self, token: &str) -> Value {
        if let TokenValidity::Active(access) = self.validate(token) {
            return json!({
                "active": true,
                "token_type": "Bearer",
                "iss": self.url,
                "sub": &*access.subject,
                "client_id": &*access.client,
                "scope": &*access.scope,
                "exp": access.expires_at.div_euclid(1000),
                "family": access.family,
                "gen": access.generation,
            });
        }
        match self.database().redeemable(token) {
            Some(family) => json!({
                "active": true,
                "token_type": "refresh_token",
                "iss": self.url,
                "sub": family.subject(),
                "client_id": family.client(),
                "scope": family.scope(),
            }),
            None => json!({"active": false}),
        }
    }
}

/// The grant type of RFC 8628 section 3.4.
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A request at the token endpoint, of any grant type.
struct TokenGrant {
    headers: http::HeaderMap,
    form: FormParameters,
}

impl TokenGrant {
    fn refresh(
        &self,
        client: &RegisteredClient,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let token = self.form.require("refresh_token")?;
        database.redeem(
            Redemption {
                token,
                client: Some(&client.id),
                requested: self.form.requested_access(),
            },
            now,
        )
    }

    fn code(
        &self,
        client: &RegisteredClient,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        database.redeem_code(
            CodeRedemption {
                code: self.form.require("code")?,
                client: &client.id,
                redirect_uri: self.form.require("redirect_uri")?,
                verifier: self.form.get("code_verifier"),
            },
            now,
        )
    }

    fn client_credentials(
        &self,
        client: &RegisteredClient,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        if !client.is_confidential() {
            return Err(Refusal::UnauthorizedClient(
                "client credentials are for confidential clients",
            ));
        }
        Ok(database.client_credentials(&client.id, self.form.requested_access(), now))
    }

    fn password(
        &self,
        client: &RegisteredClient,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let (user, password) = (
            self.form.require("username")?,
            self.form.require("password")?,
        );
        database.login(
            user,
            password,
            &client.id,
            self.form.requested_access(),
            now,
        )
    }
}

impl TokenRequest for TokenGrant {
    fn redeem(
        &self,
        shared: &IssuerShared,
        database: &mut TokenDatabase,
        now: i64,
    ) -> Result<IssuedTokens, Refusal> {
        let grant_type = self.form.require("grant_type")?;
        let client = shared.clients.authenticate(&self.headers, &self.form)?;
        match grant_type {
            "refresh_token" => self.refresh(client, database, now),
            "client_credentials" => self.client_credentials(client, database, now),
            "password" => self.password(client, database, now),
            "authorization_code" => self.code(client, database, now),
            DEVICE_CODE => {
                database.redeem_device(self.form.require("device_code")?, &client.id, now)
            }
            _ => Err(Refusal::GrantType),
        }
    }

    fn fields(&self, _: &IssuerShared, issued: &IssuedTokens, lifetime: Option<Value>) -> Value {
        let mut fields = json!({
            "access_token": issued.access_token,
            "token_type": "Bearer",
            "scope": issued.scope,
        });
        if let Some(lifetime) = lifetime {
            fields["expires_in"] = lifetime;
        }
        if let Some(refresh_token) = &issued.refresh_token {
            fields["refresh_token"] = Value::from(refresh_token.as_str());
        }
        if let Some(id_token) = &issued.id_token {
            fields["id_token"] = Value::from(id_token.as_str());
        }
        fields
    }

    fn decorate(&self, _: &IssuedTokens, _: &mut HttpResponse) {}

    fn refuse(&self, refusal: &Refusal) -> HttpResponse {
        refusal.response()
    }
}
