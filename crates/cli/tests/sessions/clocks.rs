//! Clocks that were set (rule 19): every command runs with a wall clock of its own, by libfaketime. The clock that counts
//! from the start of the machine is the real one.

use std::time::Duration;

use crate::user::{CommandOutput, User};

/// What `faketime` sets the wall clock to.
const CLOCKS: [&str; 3] = ["-5h", "+5h", "@1970-01-02 00:00:00"];
const RIGHT: &str = "+0";

/// Returns whether `faketime` is missing, so that the test is skipped. Prints the reason.
///
/// If it is missing and `CI` is `true`: on CI no test is skipped by accident.
fn skipped() -> bool {
    let tried = std::process::Command::new("faketime")
        .arg("--version")
        .output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        return false;
    }
    let reason =
        "faketime is not installed (Debian: faketime); run `cargo xtask test --only install`";
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{reason}");
    println!("skipped: {reason}");
    true
}

/// A user of whose commands each has a clock of its own.
struct Traveller(User);

impl Traveller {
    async fn new(lifetime: Duration) -> Self {
        Self::of(lifetime, true).await
    }

    /// `announced`: whether the issuer gives `expires_in`. If not, only the JWT states its lifetime.
    async fn of(lifetime: Duration, announced: bool) -> Self {
        let issuer = token_rotator_testkit::Issuer::builder();
        let user = User::with(issuer.announce_lifetime(announced)).await;
        user.issuer.set_access_lifetime(lifetime);
        Self(user)
    }

    fn command(&self, clock: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = self.0.program("faketime");
        command
            .args(["-f", clock, env!("CARGO_BIN_EXE_token-rotator")])
            .args(arguments)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        command
    }

    fn login(&self, clock: &str) {
        let (token_url, revoke_url) = (self.0.issuer.token_url(), self.0.issuer.revoke_url());
        let login = ["login", "--grant", "refresh-token", "--client-id", "desk"];
        let urls = [
            "--token-endpoint",
            token_url,
            "--revocation-endpoint",
            revoke_url,
        ];
        let arguments: Vec<&str> = login.into_iter().chain(urls).collect();
        let command = self.command(clock, &arguments);
        let output = self.0.with_input(command, &self.0.refresh_token());
        assert_eq!(output.code, 0, "{clock}: {output:?}");
    }

    fn run(&self, clock: &str, arguments: &[&str]) -> CommandOutput {
        let output = self.0.output_of(self.command(clock, arguments));
        assert_eq!(output.code, 0, "{clock}: {output:?}");
        output
    }

    /// Returns the token that the program prints. The issuer must accept it.
    fn token(&self, clock: &str) -> String {
        let token = self.run(clock, &["token"]).stdout.trim().to_owned();
        assert!(self.0.issuer.accepts(&token), "a dead token at {clock}");
        token
    }

    fn refreshes(&self) -> u64 {
        self.0.issuer.counters().refreshes
    }

    /// Waits until the issuer refuses the token. Polls, because an expiry has no event.
    async fn until_dead(&self, token: &str) {
        while self.0.issuer.accepts(token) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The clock is wrong at the login, and right afterwards. The token is printed while it is good, the first command
/// refreshes once at most, and no command prints a token beyond its lifetime.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_at_the_login() {
    if skipped() {
        return;
    }
    for clock in CLOCKS {
        let traveller = Traveller::new(Duration::from_secs(300)).await;
        traveller.login(clock);
        let login = traveller.refreshes();
        let token = traveller.token(RIGHT);
        let refreshed = traveller.refreshes();
        assert!(refreshed <= login + 1, "{clock}: {refreshed}");
        assert_eq!(traveller.token(RIGHT), token, "{clock}");
        assert_eq!(traveller.refreshes(), refreshed, "{clock}");
        assert_eq!(traveller.0.issuer.counters().reuses, 0, "{clock}");
    }
}

/// A token lives for two seconds and was received with a wrong clock. Once the issuer refuses it, no command prints it or
/// calls it good, whatever its own clock shows.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_printed_beyond_its_lifetime() {
    if skipped() {
        return;
    }
    for clock in CLOCKS {
        for (later, announced) in [(RIGHT, true), (clock, true), (RIGHT, false), (clock, false)] {
            let traveller = Traveller::of(Duration::from_secs(2), announced).await;
            traveller.login(clock);
            let token = traveller.token(clock);
            traveller.until_dead(&token).await;
            let status = traveller.run(later, &["status", "--json"]).stdout;
            assert!(
                status.contains(r#""state": "expired""#),
                "{clock}: {status}"
            );
            assert_ne!(traveller.token(later), token, "{clock}");
            assert_eq!(traveller.0.issuer.counters().reuses, 0, "{clock}");
        }
    }
}

/// The clock is set between commands, in every order. The session lives, each change costs one refresh at most, and the
/// same clock twice costs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_between_commands() {
    if skipped() {
        return;
    }
    let traveller = Traveller::new(Duration::from_secs(300)).await;
    traveller.login(RIGHT);
    for clock in CLOCKS.into_iter().flat_map(|clock| [clock, RIGHT]) {
        let before = traveller.refreshes();
        let token = traveller.token(clock);
        let after = traveller.refreshes();
        assert!(after <= before + 1, "{clock}: {before} and {after}");
        assert_eq!(traveller.token(clock), token, "{clock}");
        assert_eq!(traveller.refreshes(), after, "{clock}");
    }
    assert_eq!(traveller.0.issuer.counters().reuses, 0);
}

/// `status` and `token` name the time that is left, by the clock of the command: never more than the lifetime.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_names_more_than_the_lifetime() {
    if skipped() {
        return;
    }
    for clock in CLOCKS {
        let traveller = Traveller::new(Duration::from_secs(300)).await;
        traveller.login(clock);
        for later in [clock, RIGHT] {
            let status = traveller.run(later, &["status", "--json"]).stdout;
            let left = status
                .lines()
                .find_map(|line| line.trim().strip_prefix(r#""expires_in_s": "#))
                .and_then(|left| left.trim_end_matches(',').parse::<i64>().ok());
            let left = left.expect("a number");
            assert!((-1..=300).contains(&left), "{clock}, {later}: {status}");
        }
    }
}

/// `doctor` says by how much the clock is wrong, measured by the issuer's `Date`.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_how_wrong_the_clock_is() {
    if skipped() {
        return;
    }
    let traveller = Traveller::new(Duration::from_secs(300)).await;
    traveller.login(RIGHT);
    for (clock, direction) in [("-5h", "behind"), ("+5h", "ahead of")] {
        let output = traveller.run(clock, &["doctor"]);
        let text = output.stdout + &output.stderr;
        let clock_line = text
            .lines()
            .find(|line| line.contains("this machine's clock is"));
        let clock_line = clock_line.unwrap_or_else(|| panic!("{clock}: {text}"));
        assert!(clock_line.contains(direction), "{clock}: {text}");
        let seconds = clock_line
            .split_whitespace()
            .find_map(|word| word.parse::<u64>().ok());
        // The `Date` field has whole seconds.
        assert!(
            seconds.is_some_and(|s| s.abs_diff(5 * 3_600) <= 60),
            "{text}"
        );
    }
}
