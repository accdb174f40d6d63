//! An answer for kubectl: `ExecCredential` of `client.authentication.k8s.io`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Printed;
use crate::command_error::CommandError;

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// What kubectl reads from stdout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecCredential {
    api_version: String,
    kind: &'static str,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_timestamp: Option<Timestamp>,
}

/// What kubectl says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
}

impl ExecCredential {
    /// In the version that was asked for.
    pub(super) fn of(printed: &Printed) -> Result<Self, CommandError> {
        Ok(Self {
            api_version: version()?,
            kind: "ExecCredential",
            status: Status {
                token: printed.token.clone(),
                expiration_timestamp: printed.expires_at,
            },
        })
    }
}

fn version() -> Result<String, CommandError> {
    let Ok(info) = std::env::var("KUBERNETES_EXEC_INFO") else {
        return Ok(V1.to_owned());
    };
    let asked = serde_json::from_str::<ExecInfo>(&info).map(|info| info.api_version);
    match asked {
        Ok(version) if version == V1 || version == V1BETA1 => Ok(version),
        Ok(version) => Err(CommandError::new(format!("kubectl asks for {version}"))
            .why(format!("{V1} and {V1BETA1} are what can be answered"))
            .hint(format!(
                "write `apiVersion: {V1}` into the kubeconfig's `exec`"
            ))),
        Err(error) => Err(CommandError::new("KUBERNETES_EXEC_INFO cannot be read")
            .because(error)
            .hint("unset it, or have kubectl set it")),
    }
}
