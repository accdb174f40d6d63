//! A user with a home directory, who runs commands.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use token_rotator_testkit::{Issuer, IssuerBuilder, RefreshPolicy};

/// The clients of every issuer in these tests, and the secret of the confidential one.
pub(crate) const CLIENT: &str = "desk";
pub(crate) const SERVICE: &str = "service";
pub(crate) const SERVICE_SECRET: &str = "between us";

/// A new home directory, and an issuer with single-use refresh tokens by default.
pub(crate) struct User {
    home: TempDir,
    pub(crate) issuer: Issuer,
}

/// The output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// With the user's paths and ports replaced.
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// Returns exit code, stdout and stderr in one text.
    pub(crate) fn report(&self) -> String {
        format!("exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

impl User {
    pub(crate) async fn new() -> Self {
        Self::at(RefreshPolicy::SingleUse).await
    }

    /// Returns a user of an issuer with this policy.
    pub(crate) async fn at(policy: RefreshPolicy) -> Self {
        Self::with(Issuer::builder().refresh_policy(policy)).await
    }

    /// Returns a user of this issuer.
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

    /// Returns a user who is signed in to session `default`.
    pub(crate) async fn signed_in() -> Self {
        let user = Self::new().await;
        user.sign_in("default");
        user
    }

    /// Returns a signed-in user whose access token has expired. Later tokens live for five minutes.
    pub(crate) async fn expired() -> Self {
        let user = Self::new().await;
        user.issuer.set_access_lifetime(Duration::from_secs(1));
        user.sign_in("default");
        user.issuer.set_access_lifetime(Duration::from_secs(300));
        user.until_expired().await;
        user
    }

    /// Waits until the token has expired. Polls, because an expiry has no event.
    pub(crate) async fn until_expired(&self) {
        let state = || self.run(&["status", "--json"]).stdout;
        while !state().contains(r#""state": "expired""#) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn sign_in(&self, session: &str) {
        let output = self.login(session, &self.refresh_token());
        assert_eq!(output.code, 0, "{output:?}");
    }

    /// Returns the refresh token of a new sign-in of alice.
    pub(crate) fn refresh_token(&self) -> String {
        let grant = self.issuer.sign_in("alice");
        grant.refresh_token.clone()
    }

    pub(crate) fn login(&self, session: &str, refresh_token: &str) -> CommandOutput {
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

    /// Returns the command of the program, with the environment of this user alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_token-rotator"));
        command.args(arguments);
        command
    }

    /// Returns the command of another program, with the environment of this user alone.
    pub(crate) fn program(&self, program: &str) -> Command {
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

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.output_of(self.command(arguments))
    }

    /// Runs a command to its end.
    pub(crate) fn output_of(&self, mut command: Command) -> CommandOutput {
        self.capture(command.output().expect("it runs"))
    }

    pub(crate) fn with_input(&self, mut command: Command, input: &str) -> CommandOutput {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("its input");
        // A command that fails early does not read its input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        self.capture(child.wait_with_output().expect("its output"))
    }

    /// Converts the output of a process into a text that is the same on every machine.
    pub(crate) fn capture(&self, output: Output) -> CommandOutput {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let stderr = text(output.stderr);
        // The address for the sign-in has random values.
        let lines = stderr.lines().map(|line| match line {
            line if line.contains("state=") => "    ADDRESS\n".to_owned(),
            line => format!("{line}\n"),
        });
        let stderr = self.normalized(&lines.collect::<String>());
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr,
        }
    }

    /// Replaces the user's paths and addresses.
    pub(crate) fn normalized(&self, text: &str) -> String {
        let text = text.replace(&self.home().display().to_string(), "~");
        text.replace(self.issuer.url(), "http://ISSUER")
    }

    /// Returns the current access token.
    pub(crate) fn token(&self) -> String {
        let output = self.run(&["token"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        let token = output.stdout.strip_suffix('\n').expect("a line");
        token.to_owned()
    }
}
