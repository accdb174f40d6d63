//! The body of a record: tokens, intent and details as JSON. Fields of newer programs are ignored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::corrupt;
use super::details::{
    StoredBinding, StoredContent, StoredFailure, StoredRefusals, StoredTime, optional, readable,
};
use super::key::{hex, unhex};
use crate::error::{StoreError, StoreErrorKind};
use crate::runtime::clock::{at_unix_millis, millis, unix_millis};
use crate::store::intent::{Intent, IntentId, IntentOutcome, TokenHash};
use crate::store::{Record, RecordDetails, SessionKey, Version};
use crate::token::secret::ExposeSecret as _;
use crate::token::token_set::{Expiry, TokenSet};

/// The initial capacity of the buffer. A buffer that grows would leave copies of secrets in memory.
const CAPACITY: usize = 32 * 1024;

#[derive(Serialize, Deserialize)]
struct RecordBody<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    tokens: Option<StoredTokens<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<StoredIntent>,
    #[serde(
        default,
        deserialize_with = "optional",
        skip_serializing_if = "Option::is_none"
    )]
    received: Option<StoredTime>,
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Vec::is_empty"
    )]
    failures: Vec<StoredFailure>,
    #[serde(
        default,
        deserialize_with = "optional",
        skip_serializing_if = "Option::is_none"
    )]
    unexplained: Option<StoredRefusals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<StoredBinding>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    previous_refresh_token: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "optional",
        skip_serializing_if = "Option::is_none"
    )]
    refused_content: Option<StoredContent>,
}

#[derive(Serialize, Deserialize)]
struct StoredTokens<'a> {
    access_token: Text<'a>,
    token_type: Text<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_expires_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    obtained_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<Text<'a>, Text<'a>>,
}

/// A JSON string, borrowed if it has no escapes.
type Text<'a> = std::borrow::Cow<'a, str>;

#[derive(Serialize, Deserialize)]
struct StoredIntent {
    id: String,
    token: String,
    attempts: u32,
    started_ms: u64,
    outcome: StoredOutcome,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredOutcome {
    Open,
    Uncertain,
    Refused,
}

pub(super) fn write(record: &Record) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let details = &record.details;
    let previous = details.previous.as_ref();
    let body = RecordBody {
        tokens: record.tokens.as_deref().map(stored_tokens),
        intent: record.intent.as_ref().map(stored_intent),
        received: details.received.map(Into::into),
        failures: details.failures.iter().map(Into::into).collect(),
        unexplained: details.unexplained.as_ref().map(Into::into),
        binding: details.binding.as_ref().map(Into::into),
        previous_refresh_token: previous.map(|token| token.expose_secret().into()),
        refused_content: details.refused_content.as_ref().map(Into::into),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(CAPACITY));
    serde_json::to_writer(&mut *bytes, &body).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Refused,
            format!("the record cannot be written as JSON: {error}"),
        )
    })?;
    Ok(bytes)
}

pub(super) fn read(
    session: &SessionKey,
    version: Version,
    bytes: &[u8],
) -> Result<Record, StoreError> {
    let body: RecordBody<'_> =
        serde_json::from_slice(bytes).map_err(|_| corrupt(session, "its body is not a record"))?;
    let intent = match body.intent {
        Some(stored) => {
            let intent = intent(&stored);
            Some(intent.ok_or_else(|| corrupt(session, "its intent was damaged"))?)
        }
        None => None,
    };
    Ok(Record {
        version,
        tokens: body.tokens.map(|stored| Arc::new(tokens(stored))),
        intent,
        details: Box::new(RecordDetails {
            received: body.received.map(Into::into),
            failures: body.failures.into_iter().map(Into::into).collect(),
            unexplained: body.unexplained.map(Into::into),
            binding: body.binding.map(Into::into),
            previous: body
                .previous_refresh_token
                .map(|token| token.into_owned().into()),
            refused_content: body.refused_content.map(Into::into),
            unsealed: false,
        }),
        read_at: None,
    })
}

fn stored_tokens(tokens: &TokenSet) -> StoredTokens<'_> {
    let (expires_in_ms, expires_at_ms) = match tokens.expiry() {
        Expiry::Unknown => (None, None),
        Expiry::In(lifetime) => (Some(millis(lifetime)), None),
        Expiry::At(at) => (None, Some(unix_millis(at))),
    };
    StoredTokens {
        access_token: tokens.access_token().expose_secret().into(),
        token_type: tokens.token_type().into(),
        refresh_token: tokens
            .refresh_token()
            .map(|token| token.expose_secret().into()),
        refresh_token_expires_at_ms: tokens.refresh_token_expires_at().map(unix_millis),
        expires_in_ms,
        expires_at_ms,
        obtained_at_ms: tokens.obtained_at().map(unix_millis),
        scope: tokens.scope().map(Into::into),
        id_token: tokens.id_token().map(|token| token.expose_secret().into()),
        extra: tokens
            .extras()
            .map(|(name, value)| (name.into(), value.expose_secret().into()))
            .collect(),
    }
}

fn tokens(stored: StoredTokens<'_>) -> TokenSet {
    let expiry = match (stored.expires_in_ms, stored.expires_at_ms) {
        (Some(lifetime), _) => Expiry::In(Duration::from_millis(lifetime)),
        (None, Some(at)) => Expiry::At(at_unix_millis(at)),
        (None, None) => Expiry::Unknown,
    };
    let mut tokens = TokenSet::bearer(stored.access_token.into_owned())
        .with_token_type(stored.token_type)
        .with_expiry(expiry);
    if let Some(refresh_token) = stored.refresh_token {
        tokens = tokens.with_refresh_token(refresh_token.into_owned());
    }
    if let Some(at) = stored.refresh_token_expires_at_ms {
        tokens = tokens.with_refresh_expiry(Expiry::At(at_unix_millis(at)));
    }
    if let Some(scope) = stored.scope {
        tokens = tokens.with_scope(scope);
    }
    if let Some(id_token) = stored.id_token {
        tokens = tokens.with_id_token(id_token.into_owned());
    }
    for (name, value) in stored.extra {
        tokens = tokens.with_extra(name, value.into_owned());
    }
    match stored.obtained_at_ms {
        Some(at) => tokens.received(at_unix_millis(at)),
        None => tokens,
    }
}

fn stored_intent(intent: &Intent) -> StoredIntent {
    StoredIntent {
        id: format!("{:032x}", intent.id.bits()),
        token: hex(&intent.token.bytes()),
        attempts: intent.attempts,
        started_ms: unix_millis(intent.started),
        outcome: match intent.outcome {
            IntentOutcome::Open => StoredOutcome::Open,
            IntentOutcome::Uncertain => StoredOutcome::Uncertain,
            IntentOutcome::Refused => StoredOutcome::Refused,
        },
    }
}

fn intent(stored: &StoredIntent) -> Option<Intent> {
    let token: [u8; 32] = unhex(&stored.token)?.try_into().ok()?;
    let started: SystemTime = at_unix_millis(stored.started_ms);
    Some(Intent {
        id: IntentId::from_bits(u128::from_str_radix(&stored.id, 16).ok()?),
        token: TokenHash::from_bytes(token),
        attempts: stored.attempts,
        started,
        outcome: match stored.outcome {
            StoredOutcome::Open => IntentOutcome::Open,
            StoredOutcome::Uncertain => IntentOutcome::Uncertain,
            StoredOutcome::Refused => IntentOutcome::Refused,
        },
    })
}
