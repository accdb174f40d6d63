//! An issuer, an upstream, and the proxies.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_rotator_testkit::{Issuer, Upstream};

use crate::load::Wrk;

/// The cores: one for a proxy, one for all other processes.
const PROXY_CORE: u32 = 0;
pub(crate) const LOAD_CORE: u32 = 1;

/// The path of the program that `cargo xtask bench-proxy` has built.
const PROGRAM: &str = "TOKEN_ROTATOR";

/// A running proxy.
pub(crate) struct Contestant {
    name: &'static str,
    port: u16,
    pids: Vec<u32>,
    _child: Running,
}

impl Contestant {
    pub(crate) const NGINX: &'static str = "nginx";
    pub(crate) const OURS: &'static str = "token-rotator";

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }
}

/// A process that is killed when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The issuer, the upstream and the directory of their files.
pub(crate) struct World {
    contestants: Vec<Contestant>,
    _upstream: Running,
    _issuer: Issuer,
    _home: TempDir,
}

impl World {
    pub(crate) async fn set() -> Result<Self, Box<dyn Error>> {
        let issuer = Issuer::builder()
            .access_lifetime(Duration::from_secs(24 * 3_600))
            .start()
            .await?;
        let home = TempDir::new()?;
        let token = sign_in(home.path(), &issuer)?;
        let (upstream_port, upstream) = upstream(home.path(), &token)?;
        let mut contestants = vec![
            nginx(home.path(), upstream_port, &token)?,
            haproxy(home.path(), upstream_port, &token)?,
        ];
        let url = format!("http://127.0.0.1:{upstream_port}");
        contestants.push(ours(home.path(), &url)?);
        Ok(Self {
            contestants,
            _upstream: upstream,
            _issuer: issuer,
            _home: home,
        })
    }

    pub(crate) fn contestants(&self) -> impl Iterator<Item = &Contestant> {
        self.contestants.iter()
    }
}

/// A command on one core.
pub(crate) fn on_core(core: u32, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

fn program() -> Result<PathBuf, Box<dyn Error>> {
    let path = std::env::var_os(PROGRAM);
    let path = path.ok_or_else(|| format!("{PROGRAM} does not say where the program is"))?;
    Ok(path.into())
}

fn run(home: &Path, arguments: &[&str]) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(program()?);
    command.args(arguments).env("HOME", home);
    Ok(command)
}

/// Signs in, and returns the access token.
fn sign_in(home: &Path, issuer: &Issuer) -> Result<String, Box<dyn Error>> {
    let grant = issuer.sign_in("alice");
    let mut login = run(
        home,
        &[
            "login",
            "--grant",
            "refresh-token",
            "--client-id",
            "demo",
            "--token-endpoint",
            issuer.token_url(),
        ],
    )?
    .stdin(Stdio::piped())
    .spawn()?;
    if let Some(mut stdin) = login.stdin.take() {
        stdin.write_all(grant.refresh_token.as_bytes())?;
    }
    if !login.wait()?.success() {
        return Err("the login failed".into());
    }
    let token = run(home, &["token"])?.output()?;
    Ok(String::from_utf8(token.stdout)?.trim().to_owned())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An upstream that answers 27 bytes to a request with the token, and 401 to other requests.
fn upstream(home: &Path, token: &str) -> Result<(u16, Running), Box<dyn Error>> {
    let port = free_port()?;
    let location = format!(
        "if ($http_authorization != \"Bearer {token}\") {{ return 401; }} \
         return 200 '{{\"ok\":true,\"padding\":\"xxx\"}}';"
    );
    let child = nginx_process(home, LOAD_CORE, "upstream", port, "", &location)?;
    Ok((port, child))
}

fn nginx(home: &Path, upstream: u16, token: &str) -> Result<Contestant, Box<dyn Error>> {
    let port = free_port()?;
    let upstreams = format!(
        "upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}"
    );
    let location = format!(
        "proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_set_header Authorization \"Bearer {token}\";"
    );
    let child = nginx_process(home, PROXY_CORE, "nginx", port, &upstreams, &location)?;
    let pids = children_of(child.0.id())?;
    Ok(Contestant {
        name: Contestant::NGINX,
        port,
        pids,
        _child: child,
    })
}

fn nginx_process(
    home: &Path,
    core: u32,
    name: &str,
    port: u16,
    upstreams: &str,
    location: &str,
) -> Result<Running, Box<dyn Error>> {
    let file = home.join(format!("{name}.conf"));
    let pid = home.join(format!("{name}.pid"));
    let config = format!(
        "worker_processes 1; daemon off; error_log /dev/null; pid {}; \
         events {{ worker_connections 4096; }} \
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300; {upstreams} \
         server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}",
        pid.display()
    );
    fs::write(&file, config)?;
    let nginx = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    let child = on_core(core, nginx)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()?;
    until_open(port)?;
    Ok(Running(child))
}

fn haproxy(home: &Path, upstream: u16, token: &str) -> Result<Contestant, Box<dyn Error>> {
    let port = free_port()?;
    let file = home.join("haproxy.cfg");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 300s\n  timeout server 300s\n  http-reuse always\nfrontend in\n  \
         bind 127.0.0.1:{port}\n  http-request set-header Authorization \"Bearer {token}\"\n  \
         default_backend up\nbackend up\n  server one 127.0.0.1:{upstream}\n"
    );
    fs::write(&file, config)?;
    let haproxy = if Path::new("/usr/sbin/haproxy").exists() {
        "/usr/sbin/haproxy"
    } else {
        "haproxy"
    };
    let child = on_core(PROXY_CORE, haproxy)
        .args(["-db", "-f"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()?;
    until_open(port)?;
    Ok(Contestant {
        name: "haproxy",
        port,
        pids: vec![child.id()],
        _child: Running(child),
    })
}

fn ours(home: &Path, upstream: &str) -> Result<Contestant, Box<dyn Error>> {
    let program = program()?;
    let mut child = on_core(PROXY_CORE, program.to_str().ok_or("no path")?)
        .args([
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--log",
            "error",
            "--json",
        ])
        .args(["--upstream", upstream])
        .env("HOME", home)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut line)?;
    let told: serde_json::Value = serde_json::from_str(&line)?;
    let url = told["listen"][0].as_str().ok_or("no address")?;
    let port = url.rsplit(':').next().ok_or("no port")?.parse()?;
    Ok(Contestant {
        name: Contestant::OURS,
        port,
        pids: vec![child.id()],
        _child: Running(child),
    })
}

/// Runs our proxy while its token expires every second, before the testkit's upstream, which judges
/// each token. Counts answers and refreshes.
pub(crate) async fn storm() -> Result<(), Box<dyn Error>> {
    const LENGTH: Duration = Duration::from_secs(10);
    let issuer = Issuer::builder()
        .access_lifetime(Duration::from_secs(1))
        .start()
        .await?;
    let upstream = Upstream::start(&issuer).await?;
    let home = TempDir::new()?;
    sign_in(home.path(), &issuer)?;
    let proxy = ours(home.path(), upstream.url())?;
    let before = issuer.counters().refreshes;
    let url = format!("{}echo", proxy.url());
    let wrk = tokio::task::spawn_blocking(move || {
        Wrk::run(&url, 64, LENGTH).map_err(|error| error.to_string())
    });
    let wrk = wrk.await??;
    let counters = issuer.counters();
    println!(
        "{} requests over 64 connections in {LENGTH:?}, all answered 2xx; {} refreshes, {} reuse alarms; p99 {:.1} ms",
        wrk.requests,
        counters.refreshes - before,
        counters.reuses,
        wrk.p99.as_secs_f64() * 1e3
    );
    Ok(())
}

fn until_open(port: u16) -> Result<(), Box<dyn Error>> {
    let patience = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > patience {
            return Err(format!("nothing listens on port {port}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The worker of nginx, which serves. `taskset` has become the master.
fn children_of(pid: u32) -> Result<Vec<u32>, Box<dyn Error>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let pids: Result<Vec<u32>, _> = children.split_whitespace().map(str::parse).collect();
    Ok(pids?)
}
