//! `POST /token`, `POST /revoke` and `POST /introspect`.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::client::Client;
use crate::issuer::form::Form;
use crate::issuer::ledger::{Asked, CodeRedemption, Issued, Judgement, Ledger, Redemption};
use crate::issuer::refresh::Exchange;
use crate::issuer::refusal::Refusal;
use crate::server::connection::Connection;

impl IssuerShared {
    pub(super) async fn token(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Answer {
        self.ledger().count_token_request();
        let headers = request.headers().clone();
        let form = match Form::read(request).await {
            Ok(form) => form,
            Err(refusal) => return refusal.answer(),
        };
        let grant = TokenGrant { headers, form };
        if matches!(
            grant.form.get("grant_type"),
            Some("refresh_token" | "client_credentials")
        ) {
            return self.exchange(grant, connection).await;
        }
        // A sign-in meets no gate and no fault, so that tests can sign in whatever they have set up.
        let now = self.clock.now();
        let outcome = grant.redeem(&self, &mut self.ledger(), now);
        self.answer_exchange(&grant, outcome, None)
    }

    pub(super) async fn revoke(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        self.ledger().count_revoke_call();
        let headers = request.headers().clone();
        let revoked = async {
            let form = Form::read(request).await?;
            let client = self.clients.authenticate(&headers, &form)?;
            let token = form.require("token")?;
            self.ledger().revoke_token(token, &client.id);
            Ok::<_, Refusal>(())
        };
        match revoked.await {
            // An unknown token is revoked enough (RFC 7009 section 2.2).
            Ok(()) => answer::empty(StatusCode::OK),
            Err(refusal) => refusal.answer(),
        }
    }

    pub(super) async fn introspect(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let headers = request.headers().clone();
        let described = async {
            let form = Form::read(request).await?;
            self.clients.authenticate(&headers, &form)?;
            Ok::<_, Refusal>(self.describe(form.require("token")?))
        };
        match described.await {
            Ok(description) => answer::no_store(answer::json(StatusCode::OK, &description)),
            Err(refusal) => refusal.answer(),
        }
    }

    fn describe(&self, token: &str) -> Value {
        if let Judgement::Active(access) = self.judge(token) {
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
        match self.ledger().redeemable(token) {
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

/// A request at the token endpoint, whatever its grant type.
struct TokenGrant {
    headers: http::HeaderMap,
    form: Form,
}

impl TokenGrant {
    fn asked(&self) -> Asked<'_> {
        Asked {
            scope: self.form.get("scope"),
            audience: self
                .form
                .get("audience")
                .or_else(|| self.form.get("resource")),
        }
    }

    fn refresh(&self, client: &Client, ledger: &mut Ledger, now: i64) -> Result<Issued, Refusal> {
        let token = self.form.require("refresh_token")?;
        ledger.redeem(
            Redemption {
                token,
                client: Some(&client.id),
                asked: self.asked(),
            },
            now,
        )
    }

    fn code(&self, client: &Client, ledger: &mut Ledger, now: i64) -> Result<Issued, Refusal> {
        ledger.redeem_code(
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
        client: &Client,
        ledger: &mut Ledger,
        now: i64,
    ) -> Result<Issued, Refusal> {
        if !client.is_confidential() {
            return Err(Refusal::UnauthorizedClient(
                "client credentials are for confidential clients",
            ));
        }
        Ok(ledger.client_credentials(&client.id, self.asked(), now))
    }

    fn password(&self, client: &Client, ledger: &mut Ledger, now: i64) -> Result<Issued, Refusal> {
        let (user, password) = (
            self.form.require("username")?,
            self.form.require("password")?,
        );
        ledger.login(user, password, &client.id, self.asked(), now)
    }
}

impl Exchange for TokenGrant {
    fn redeem(
        &self,
        shared: &IssuerShared,
        ledger: &mut Ledger,
        now: i64,
    ) -> Result<Issued, Refusal> {
        let grant_type = self.form.require("grant_type")?;
        let client = shared.clients.authenticate(&self.headers, &self.form)?;
        match grant_type {
            "refresh_token" => self.refresh(client, ledger, now),
            "client_credentials" => self.client_credentials(client, ledger, now),
            "password" => self.password(client, ledger, now),
            "authorization_code" => self.code(client, ledger, now),
            DEVICE_CODE => ledger.redeem_device(self.form.require("device_code")?, &client.id, now),
            _ => Err(Refusal::GrantType),
        }
    }

    fn fields(&self, _: &IssuerShared, issued: &Issued, lifetime: Option<Value>) -> Value {
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

    fn decorate(&self, _: &Issued, _: &mut Answer) {}

    fn refuse(&self, refusal: &Refusal) -> Answer {
        refusal.answer()
    }
}
