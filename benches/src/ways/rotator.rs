//! token-rotator.

use std::sync::Arc;

use http::HeaderValue;
use token_rotator::{Rotator, SourceError, TokenSet};

use super::Way;
use crate::issuer::{Failed, Issuer, LIFETIME};

/// The origin of the requests.
const ORIGIN: &str = "https://api.example.com";

/// `Rotator::token`, with the header cloned.
pub struct RotatorWay(pub Rotator);

impl Way for RotatorWay {
    const NAME: &'static str = "token-rotator";

    fn new(issuer: Arc<Issuer>) -> Self {
        let source = move |_last| {
            let issuer = Arc::clone(&issuer);
            async move {
                let token = issuer.token().await;
                Ok::<_, SourceError>(TokenSet::bearer(token).expires_in(LIFETIME))
            }
        };
        let rotator = Rotator::builder(source).origin(ORIGIN).build();
        Self(rotator.expect("every setting is a default"))
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        let token = self.0.token().await.map_err(|_| Failed)?;
        Ok(token.header().clone())
    }
}
