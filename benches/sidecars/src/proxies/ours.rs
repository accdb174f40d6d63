//! `token-rotator proxy`, with a session from `token-rotator login`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use token_rotator_testkit::CertifiedIssuer;

use super::Proxy;
use crate::process::{Running, first_line, free_port};

/// The variable with the path of the program. `cargo xtask compare-sidecars` sets it.
const PROGRAM: &str = "TOKEN_ROTATOR";

pub(super) fn version() -> Result<String, Box<dyn Error>> {
    let home = TempDir::new()?;
    first_line(program(home.path())?.arg("--version"))
}

/// The defaults: no setting but the issuer, the client and the upstream.
pub(super) async fn start(issuer: &CertifiedIssuer) -> Result<Proxy, Box<dyn Error>> {
    let home = TempDir::new()?;
    let grant = issuer.sign_in().await;
    sign_in(home.path(), issuer, &grant.client_id, &grant.refresh_token)?;
    let port = free_port()?;
    let mut command = program(home.path())?;
    command.args(["proxy", "--upstream", issuer.upstream_url()]);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut running = Running::start(command, &home.path().join("proxy.log"))?;
    running.until_open(port).await?;
    Ok(Proxy {
        authority: format!("127.0.0.1:{port}"),
        cookies: None,
        _running: running,
        _home: home,
    })
}

fn sign_in(
    home: &Path,
    issuer: &CertifiedIssuer,
    client: &str,
    refresh_token: &str,
) -> Result<(), Box<dyn Error>> {
    let mut login = program(home)?
        .args(["login", "--grant", "refresh-token"])
        .args(["--issuer", issuer.issuer_url(), "--client-id", client])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = login.stdin.take() {
        stdin.write_all(refresh_token.as_bytes())?;
    }
    let output = login.wait_with_output()?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("the login failed: {said}").into())
    }
}

fn program(home: &Path) -> Result<Command, Box<dyn Error>> {
    let path = std::env::var_os(PROGRAM);
    let path = path.ok_or_else(|| format!("{PROGRAM} does not say where the program is"))?;
    let mut command = Command::new(path);
    // Settings of the user in the environment do not apply.
    command.env_clear().env("HOME", home);
    Ok(command)
}
