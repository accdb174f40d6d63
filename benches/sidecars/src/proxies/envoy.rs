//! Envoy with its credential injector.

use std::error::Error;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use token_rotator_testkit::CertifiedIssuer;

use super::{Proxy, port};
use crate::process::{Running, first_line, free_port};

/// The variable with the path of the program. `cargo xtask compare-sidecars` sets it.
const PROGRAM: &str = "ENVOY";

pub(super) fn version() -> Result<String, Box<dyn Error>> {
    let line = first_line(program()?.arg("--version"))?;
    // `.../envoy  version: HASH/1.40.0/Clean/RELEASE/BoringSSL`
    let version = line.split('/').find(|part| part.starts_with("1."));
    Ok(version.ok_or("Envoy tells no version")?.to_owned())
}

/// The injector supports client credentials only, so the session belongs to the client.
pub(super) async fn start(issuer: &CertifiedIssuer) -> Result<Proxy, Box<dyn Error>> {
    let home = TempDir::new()?;
    let listen = free_port()?;
    let file = home.path().join("envoy.json");
    fs::write(&file, configuration(issuer, listen)?.to_string())?;
    let mut command = program()?;
    command.arg("--config-path").arg(&file);
    command.args(["--disable-hot-restart", "--log-level", "warning"]);
    let mut running = Running::start(command, &home.path().join("envoy.log"))?;
    running.until_open(listen).await?;
    Ok(Proxy {
        authority: format!("127.0.0.1:{listen}"),
        cookies: None,
        _running: running,
        _home: home,
    })
}

fn program() -> Result<Command, Box<dyn Error>> {
    let path = std::env::var_os(PROGRAM);
    Ok(Command::new(path.ok_or_else(|| {
        format!("{PROGRAM} does not say where Envoy is")
    })?))
}

fn configuration(issuer: &CertifiedIssuer, listen: u16) -> Result<Value, Box<dyn Error>> {
    let client = issuer.confidential_client();
    let extensions = "type.googleapis.com/envoy.extensions";
    let injector = json!({
        "@type": format!("{extensions}.filters.http.credential_injector.v3.CredentialInjector"),
        "overwrite": true,
        "credential": {
            "name": "envoy.http.injected_credentials.oauth2",
            "typed_config": {
                "@type": format!("{extensions}.http.injected_credentials.oauth2.v3.OAuth2"),
                "token_endpoint": {
                    "uri": issuer.token_url(),
                    "cluster": "issuer",
                    "timeout": "5s",
                },
                "client_credentials": {
                    "client_id": client.client_id,
                    "client_secret": { "name": "client_secret" },
                },
                "scopes": ["read"],
            },
        },
    });
    let manager = json!({
        "@type": format!("{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "callers",
        "http_filters": [
            { "name": "envoy.filters.http.credential_injector", "typed_config": injector },
            {
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": format!("{extensions}.filters.http.router.v3.Router") },
            },
        ],
        "route_config": {
            "virtual_hosts": [{
                "name": "api",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
            }],
        },
    });
    Ok(json!({
        "static_resources": {
            "secrets": [{
                "name": "client_secret",
                "generic_secret": { "secret": { "inline_string": client.client_secret } },
            }],
            "listeners": [{
                "name": "callers",
                "address": address(listen),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }] }],
            }],
            "clusters": [
                cluster("issuer", issuer.token_url())?,
                cluster("upstream", issuer.upstream_url())?,
            ],
        },
    }))
}

fn cluster(name: &str, url: &str) -> Result<Value, Box<dyn Error>> {
    Ok(json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(port(url)?) } }] }],
        },
    }))
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}
