//! The `exec-credential` format for kubectl: `ExecCredential` of `client.authentication.k8s.io`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TokenOutput;
use crate::command_error::CommandError;

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// The object that kubectl reads from stdout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecCredential {
    api_version: String,
    kind: &'static str,
    status: CredentialStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialStatus {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_timestamp: Option<Timestamp>,
}

/// The object in `KUBERNETES_EXEC_INFO`, which kubectl sets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
}

impl ExecCredential {
    /// Converts a token, in the version that kubectl requests.
    pub(super) fn of(printed: &TokenOutput) -> Result<Self, CommandError> {
        Ok(Self {
            api_version: version()?,
            kind: "ExecCredential",
            status: CredentialStatus {
                token: printed.token.clone(),
                expiration_timestamp: printed.expires_at,
            },
        })
    }
}

fn version() -> Result<String, CommandError> {
    let info = std::env::var("KUBERNETES_EXEC_INFO").unwrap_or_default();
    if info.is_empty() {
        return Ok(V1.to_owned());
    }
    let request = serde_json::from_str::<ExecInfo>(&info).map(|info| info.api_version);
    match request {
        Ok(version) if version == V1 || version == V1BETA1 => Ok(version),
        Ok(version) => Err(CommandError::new(format!("kubectl asks for {version}"))
            .why(format!("the program supports {V1} and {V1BETA1}"))
            .hint(format!(
                "write `apiVersion: {V1}` into the kubeconfig's `exec`"
            ))),
        Err(error) => Err(CommandError::new("KUBERNETES_EXEC_INFO cannot be read")
            .because(error)
            .hint("unset it, or have kubectl set it")),
    }
}
