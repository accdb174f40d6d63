//! Somebody with a home directory, who types commands.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use token_rotator_testkit::{Issuer, IssuerBuilder, RefreshPolicy};

/// The client that every issuer here knows, and its secret if it is the confidential one.
pub(crate) const CLIENT: &str = "desk";
pub(crate) const SERVICE: &str = "service";
pub(crate) const SERVICE_SECRET: &str = "between us";

/// A home of their own, and an issuer with single-use refresh tokens.
pub(crate) struct User {
    home: TempDir,
    pub(crate) issuer: Issuer,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) code: i32,
    pub(crate) out: String,
    /// With this user's own paths and ports taken out.
    pub(crate) said: String,
}

impl User {
    pub(crate) async fn new() -> Self {
        Self::at(RefreshPolicy::SingleUse).await
    }

    /// At an issuer of this policy.
    pub(crate) async fn at(policy: RefreshPolicy) -> Self {
        Self::with(Issuer::builder().refresh_policy(policy)).await
    }

    /// At an issuer of this kind.
    pub(crate) async fn with(issuer: IssuerBuilder) -> Self {
        let issuer = issuer
            .access_lifetime(Duration::from_secs(300))
            .client(CLIENT, None)
            .client(SERVICE, Some(SERVICE_SECRET))
            .start()
            .await
            .expect("an issuer");
        Self {
            home: TempDir::new().expect("a home"),
            issuer,
        }
    }

    /// Signed in, as session `default`.
    pub(crate) async fn signed_in() -> Self {
        let user = Self::new().await;
        user.sign_in("default");
        user
    }

    /// Signed in, with an access token that has expired since. Later ones live for five minutes.
    pub(crate) async fn expired() -> Self {
        let user = Self::new().await;
        user.issuer.set_access_lifetime(Duration::from_secs(1));
        user.sign_in("default");
        user.issuer.set_access_lifetime(Duration::from_secs(300));
        user.until_expired().await;
        user
    }

    /// Waits for the one thing that has no other event than the time.
    pub(crate) async fn until_expired(&self) {
        let state = || self.run(&["status", "--json"]).out;
        while !state().contains(r#""state": "expired""#) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn sign_in(&self, session: &str) {
        let came = self.login(session, &self.refresh_token());
        assert_eq!(came.code, 0, "{came:?}");
    }

    /// A refresh token for a new sign-in of alice's.
    pub(crate) fn refresh_token(&self) -> String {
        let grant = self.issuer.sign_in("alice");
        grant.refresh_token.clone()
    }

    pub(crate) fn login(&self, session: &str, refresh_token: &str) -> Came {
        let mut command = self.command(&["login", "--session", session]);
        command.args(["--grant", "refresh-token", "--client-id", CLIENT]);
        command.args(["--token-endpoint", self.issuer.token_url()]);
        command.args(["--revocation-endpoint", self.issuer.revoke_url()]);
        self.with_input(command, refresh_token)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, text: &str) {
        let directory = self.home().join(".config/token-rotator");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("config.toml"), text).expect("a file");
    }

    /// The program with these arguments, in this user's world and no other.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.any(env!("CARGO_BIN_EXE_token-rotator"));
        command.args(arguments);
        command
    }

    /// Another program of this user's.
    pub(crate) fn any(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home())
            .env("LC_ALL", "C.UTF-8");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Came {
        self.came(self.command(arguments).output().expect("it runs"))
    }

    pub(crate) fn with_input(&self, mut command: Command, input: &str) -> Came {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("its input");
        // Whoever fails early does not read it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        self.came(child.wait_with_output().expect("its output"))
    }

    /// What this output says, the same on every machine.
    pub(crate) fn came(&self, output: Output) -> Came {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let said = text(output.stderr);
        // An address to sign in at holds what is drawn anew for each sign-in.
        let lines = said.lines().map(|line| match line {
            line if line.contains("state=") => "    ADDRESS\n".to_owned(),
            line => format!("{line}\n"),
        });
        let said = self.made_same(&lines.collect::<String>());
        Came {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            said,
        }
    }

    /// This text with paths and addresses as on every machine.
    pub(crate) fn made_same(&self, text: &str) -> String {
        let text = text.replace(&self.home().display().to_string(), "~");
        text.replace(self.issuer.url(), "http://ISSUER")
    }

    /// The token that is good now.
    pub(crate) fn token(&self) -> String {
        let came = self.run(&["token"]);
        assert_eq!((came.code, came.said.as_str()), (0, ""), "{came:?}");
        let token = came.out.strip_suffix('\n').expect("a line");
        token.to_owned()
    }
}
