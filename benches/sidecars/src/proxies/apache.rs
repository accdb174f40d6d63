//! Apache with `mod_auth_openidc`.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use token_rotator_testkit::CertifiedIssuer;

use super::Proxy;
use crate::browser;
use crate::process::{Running, first_line, free_port};

const MODULES: &str = "/usr/lib/apache2/modules";

pub(super) fn version() -> Result<String, Box<dyn Error>> {
    let apache = first_line(program().arg("-v"))?;
    let apache = apache.trim_start_matches("Server version: ");
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Version}\\n"]);
    let module = first_line(query.arg("libapache2-mod-auth-openidc"))?;
    Ok(format!("{module} in {apache}"))
}

/// One user signs in with a browser, and the callers share the cookie of that session.
pub(super) async fn start(issuer: &CertifiedIssuer) -> Result<Proxy, Box<dyn Error>> {
    let home = TempDir::new()?;
    // The workers run as another user and need to reach their lock.
    fs::set_permissions(home.path(), Permissions::from_mode(0o711))?;
    let port = free_port()?;
    let file = home.path().join("apache.conf");
    fs::write(&file, configuration(issuer, home.path(), port))?;
    let mut command = program();
    command.arg("-f").arg(&file).arg("-DFOREGROUND");
    let mut running = Running::start(command, &home.path().join("apache.log"))?;
    running.until_open(port).await?;
    let authority = format!("127.0.0.1:{port}");
    let cookies = browser::sign_in(&format!("http://{authority}/sign-in")).await?;
    Ok(Proxy {
        authority,
        cookies: Some(cookies),
        _running: running,
        _home: home,
    })
}

fn program() -> Command {
    let debian = "/usr/sbin/apache2";
    Command::new(if Path::new(debian).exists() {
        debian
    } else {
        "apache2"
    })
}

/// Callers of `/echo` are programs and get a 401 without a session. A browser that opens another page signs in. The
/// module replaces a token when a request arrives in the last two seconds of its life or later. Threads and processes
/// are the defaults of Debian.
fn configuration(issuer: &CertifiedIssuer, home: &Path, port: u16) -> String {
    let modules = [
        ("mpm_event", "mpm_event"),
        ("authn_core", "authn_core"),
        ("authz_core", "authz_core"),
        ("authz_user", "authz_user"),
        ("headers", "headers"),
        ("proxy", "proxy"),
        ("proxy_http", "proxy_http"),
        ("auth_openidc", "auth_openidc"),
    ]
    .map(|(module, file)| format!("LoadModule {module}_module {MODULES}/mod_{file}.so\n"))
    .concat();
    let client = issuer.confidential_client();
    format!(
        r#"{modules}
ServerRoot "{home}"
DefaultRuntimeDir "{home}"
PidFile "{home}/apache.pid"
ErrorLog "{home}/error.log"
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
User www-data
Group www-data
StartServers 2
MinSpareThreads 25
MaxSpareThreads 75
ThreadLimit 64
ThreadsPerChild 25
MaxRequestWorkers 150

OIDCProviderMetadataURL {issuer_url}/.well-known/openid-configuration
OIDCProviderTokenEndpointAuth client_secret_basic
OIDCClientID {client_id}
OIDCClientSecret {client_secret}
OIDCRedirectURI http://127.0.0.1:{port}/callback
OIDCCryptoPassphrase "of no value outside this process"
OIDCScope "openid offline_access read"
OIDCAuthRequestParams prompt=consent
OIDCPKCEMethod S256
OIDCRefreshAccessTokenBeforeExpiry 2
OIDCPassClaimsAs environment

ProxyPass /callback !
ProxyPass / {upstream}/
<Location />
    AuthType openid-connect
    Require valid-user
    RequestHeader set Authorization "Bearer %{{OIDC_access_token}}e"
</Location>
<Location /echo>
    OIDCUnAuthAction 401
</Location>
"#,
        home = home.display(),
        issuer_url = issuer.issuer_url(),
        client_id = client.client_id,
        client_secret = client.client_secret,
        upstream = issuer.upstream_url(),
    )
}
