//! The details of a record as JSON. Readers ignore a detail that they cannot read, except where that
//! would weaken the session: the binding.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::key::{hex, unhex};
use crate::error::FailureKind;
use crate::runtime::clock::millis;
use crate::store::failure::{FAILURES_MAX, cut};
use crate::store::time::SteadyTime;
use crate::store::{
    Binding, Fingerprint, RefusedContent, SharedFailure, StoreTime, UnexplainedRefusals,
};

#[derive(Serialize, Deserialize)]
pub(super) struct StoredTime {
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steady_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredFailure {
    kind: StoredKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    message: String,
    wait_ms: u64,
    #[serde(default)]
    asked_by_issuer: bool,
    host: String,
    at: StoredTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    in_a_row: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredKind {
    NotSent,
    Transient,
    Uncertain,
    Terminal,
    Misconfigured,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredRefusals {
    count: u32,
    last: StoredTime,
    #[serde(default)]
    is_refused: bool,
    message: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredContent {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredBinding {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<String>,
}

/// Reads a detail. Returns `None` if it is missing or not readable.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Reads a list of details, without the items that are not readable.
pub(super) fn readable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    let serde_json::Value::Array(items) = value else {
        return Ok(Vec::new());
    };
    let items = items.into_iter().take(FAILURES_MAX);
    Ok(items
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect())
}

impl From<StoreTime> for StoredTime {
    fn from(time: StoreTime) -> Self {
        Self {
            wall_ms: time.wall_ms,
            start: time.steady.map(|steady| format!("{:032x}", steady.start)),
            steady_ms: time.steady.map(|steady| steady.ms),
        }
    }
}

impl From<StoredTime> for StoreTime {
    fn from(stored: StoredTime) -> Self {
        let start = stored
            .start
            .and_then(|start| u128::from_str_radix(&start, 16).ok());
        Self {
            wall_ms: stored.wall_ms,
            steady: start
                .zip(stored.steady_ms)
                .map(|(start, ms)| SteadyTime { start, ms }),
        }
    }
}

impl From<&SharedFailure> for StoredFailure {
    fn from(failure: &SharedFailure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::NotSent => StoredKind::NotSent,
                FailureKind::Transient => StoredKind::Transient,
                FailureKind::Uncertain => StoredKind::Uncertain,
                FailureKind::Terminal => StoredKind::Terminal,
                FailureKind::Misconfigured => StoredKind::Misconfigured,
            },
            code: failure.code.clone(),
            message: failure.message.clone(),
            wait_ms: millis(failure.wait),
            asked_by_issuer: failure.asked_by_issuer,
            host: failure.host.clone(),
            at: failure.at.into(),
            fingerprint: failure.fingerprint.map(|print| hex(&print.bytes())),
            in_a_row: failure.in_a_row,
        }
    }
}

impl From<StoredFailure> for SharedFailure {
    fn from(stored: StoredFailure) -> Self {
        let kind = match stored.kind {
            StoredKind::NotSent => FailureKind::NotSent,
            StoredKind::Transient => FailureKind::Transient,
            StoredKind::Uncertain => FailureKind::Uncertain,
            StoredKind::Terminal => FailureKind::Terminal,
            StoredKind::Misconfigured => FailureKind::Misconfigured,
        };
        Self {
            code: stored.code.map(|code| cut(code, 100)),
            wait: Duration::from_millis(stored.wait_ms),
            asked_by_issuer: stored.asked_by_issuer,
            fingerprint: fingerprint(stored.fingerprint),
            in_a_row: stored.in_a_row,
            ..Self::new(kind, stored.message, &stored.host, stored.at.into())
        }
    }
}

impl From<&UnexplainedRefusals> for StoredRefusals {
    fn from(refusals: &UnexplainedRefusals) -> Self {
        Self {
            count: refusals.count,
            last: refusals.last.into(),
            is_refused: refusals.is_refused,
            message: refusals.message.clone(),
        }
    }
}

impl From<StoredRefusals> for UnexplainedRefusals {
    fn from(stored: StoredRefusals) -> Self {
        Self {
            is_refused: stored.is_refused,
            ..Self::new(stored.count, stored.last.into(), stored.message)
        }
    }
}

impl From<&RefusedContent> for StoredContent {
    fn from(content: &RefusedContent) -> Self {
        Self {
            message: content.message.clone(),
            fingerprint: content.fingerprint.map(|print| hex(&print.bytes())),
        }
    }
}

impl From<StoredContent> for RefusedContent {
    fn from(stored: StoredContent) -> Self {
        Self::new(stored.message, fingerprint(stored.fingerprint))
    }
}

impl From<&Binding> for StoredBinding {
    fn from(binding: &Binding) -> Self {
        Self {
            issuer: binding.issuer.clone(),
            token_endpoint: binding.token_endpoint.clone(),
            revocation_endpoint: binding.revocation_endpoint.clone(),
        }
    }
}

impl From<StoredBinding> for Binding {
    fn from(stored: StoredBinding) -> Self {
        Self {
            issuer: stored.issuer,
            token_endpoint: stored.token_endpoint,
            revocation_endpoint: stored.revocation_endpoint,
            ..Self::default()
        }
    }
}

fn fingerprint(text: Option<String>) -> Option<Fingerprint> {
    let bytes = unhex(&text?)?.try_into().ok()?;
    Some(Fingerprint::from_bytes(bytes))
}
