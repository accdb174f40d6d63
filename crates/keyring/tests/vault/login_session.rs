//! A login session with its own D-Bus and GNOME Keyring.
//!
//! The address of the bus is in the environment, which all tests of a process share. So each test starts its own
//! process with its own environment.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secret_service::EncryptionType;
use secret_service::blocking::SecretService;

use super::skip;

/// Set in the process that runs the test: the directory with all files of the session.
const ROOT: &str = "TOKEN_ROTATOR_TEST_SESSION";
/// Variables of the session that the tests were started from.
const REMOVED_VARIABLES: [&str; 8] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "GNOME_KEYRING_CONTROL",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_DIRS",
];
/// Password of the keyring.
const PASSWORD: &str = "a test password";
/// Time limit for two programs to start on a busy machine.
const START_TIME_LIMIT: Duration = Duration::from_secs(20);

/// The session. Its programs end on drop.
pub(crate) struct LoginSession {
    keyring: Daemon,
    _bus: Daemon,
    root: PathBuf,
}

/// A program that ends on drop.
struct Daemon(Child);

/// Runs the scenario in a new session. `name` is the test's name as cargo prints it.
///
/// Skips the test if D-Bus or GNOME Keyring cannot be started.
pub(crate) fn run_in_login_session(name: &str, scenario: impl AsyncFnOnce(LoginSession)) {
    if let Some(root) = env::var_os(ROOT) {
        match LoginSession::start(Path::new(&root)) {
            Ok(session) => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(scenario(session)),
            Err(reason) => skip(&reason),
        }
        return;
    }
    // A short prefix, because the path of a socket may have at most 107 bytes.
    let root = tempfile::Builder::new().prefix("tr").tempdir();
    let root = root.expect("a temporary directory");
    let mut test_process = Command::new(env::current_exe().expect("a test program"));
    test_process.args(["--exact", name, "--nocapture"]);
    test_process
        .env(ROOT, root.path())
        .env("HOME", root.path().join("home"));
    test_process.env("XDG_RUNTIME_DIR", root.path());
    test_process.env("DBUS_SESSION_BUS_ADDRESS", address(root.path()));
    for variable in REMOVED_VARIABLES {
        test_process.env_remove(variable);
    }
    let output = test_process.output().expect("the test program starts");
    let output_text = String::from_utf8_lossy(&output.stdout);
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // The output is not printed if the test passed: a tool that counts results would count this test twice.
    assert!(
        output.status.success(),
        "the test failed in its login session: {output_text}"
    );
    assert!(
        output_text.contains("1 passed"),
        "there is no test called {name}"
    );
}

impl LoginSession {
    fn start(root: &Path) -> Result<Self, String> {
        fs::create_dir(root.join("home")).expect("a new directory");
        let bus = start_bus(root)?;
        let keyring = start_keyring(Some(PASSWORD))?;
        Ok(Self {
            keyring,
            _bus: bus,
            root: root.to_owned(),
        })
    }

    /// Returns the home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Kills the keyring, like a crash. The bus stays.
    pub(crate) fn kill_keyring(&mut self) {
        self.keyring.end();
    }

    /// Starts the keyring again, as after the next login.
    pub(crate) fn restart_keyring(&mut self) {
        self.restart(Some(PASSWORD));
    }

    /// Starts the keyring again without unlocking it, as after a login without a password.
    pub(crate) fn restart_locked(&mut self) {
        self.restart(None);
    }

    fn restart(&mut self, password: Option<&str>) {
        self.keyring.end();
        self.keyring = start_keyring(password).expect("the keyring starts again");
    }
}

/// Operations on the keyring.
#[expect(
    clippy::unused_self,
    reason = "the address is in the environment, but the keyring runs as long as this value exists"
)]
impl LoginSession {
    /// Adds an entry.
    pub(crate) fn put(&self, value: &[u8]) {
        let service = connect();
        let collection = service
            .get_default_collection()
            .expect("a default collection");
        let item =
            collection.create_item("test", key_attributes().into(), value, false, "text/plain");
        item.expect("unlocked");
    }

    /// Returns the labels and values of the key's entries.
    pub(crate) fn values(&self) -> Vec<(String, Vec<u8>)> {
        let service = connect();
        let matches = service
            .search_items(key_attributes().into())
            .expect("running");
        assert!(matches.locked.is_empty());
        let items = matches.unlocked.iter().map(|item| {
            let label = item.get_label().expect("unlocked");
            (label, item.get_secret().expect("unlocked"))
        });
        items.collect()
    }

    /// Removes the key's entries.
    pub(crate) fn remove(&self) {
        let service = connect();
        let matches = service
            .search_items(key_attributes().into())
            .expect("running");
        for item in matches.unlocked {
            item.delete().expect("unlocked");
        }
    }
}

fn key_attributes() -> [(&'static str, &'static str); 2] {
    [("service", "token-rotator"), ("username", "data-key")]
}

fn connect() -> SecretService<'static> {
    SecretService::connect(EncryptionType::Dh).expect("the keyring is running")
}

fn address(root: &Path) -> String {
    format!("unix:path={}", root.join("bus").display())
}

/// Starts a bus that starts no services, so that a killed keyring is not started again.
fn start_bus(root: &Path) -> Result<Daemon, String> {
    let configuration = root.join("bus.conf");
    let text = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
        "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
        <busconfig>
          <type>session</type>
          <listen>{}</listen>
          <auth>EXTERNAL</auth>
          <policy context="default">
            <allow send_destination="*" eavesdrop="true"/>
            <allow eavesdrop="true"/>
            <allow own="*"/>
          </policy>
        </busconfig>"#,
        address(root)
    );
    fs::write(&configuration, text).expect("writable");
    let mut program = Command::new("dbus-daemon");
    program.arg("--config-file").arg(&configuration);
    program.args(["--nofork", "--nosyslog", "--print-address"]);
    program.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut bus = Daemon::start("dbus-daemon", program)?;
    let output = bus.0.stdout.take().expect("the stream is piped");
    let mut line = String::new();
    match BufReader::new(output).read_line(&mut line) {
        Ok(length) if length > 0 => Ok(bus),
        _ => Err("dbus-daemon does not start; see its output above".to_owned()),
    }
}

/// Starts the keyring, and unlocks it if a password is given. The first start creates it.
fn start_keyring(password: Option<&str>) -> Result<Daemon, String> {
    let mut program = Command::new("gnome-keyring-daemon");
    program.args(["--foreground", "--components=secrets"]);
    if password.is_some() {
        program.arg("--unlock");
    }
    program.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut keyring = Daemon::start("gnome-keyring-daemon", program)?;
    let mut input = keyring.0.stdin.take().expect("the stream is piped");
    // The daemon reads its input to the end. If it has ended already, the loop below reports that.
    let _ = input.write_all(password.unwrap_or_default().as_bytes());
    drop(input);
    let started = Instant::now();
    loop {
        let service = SecretService::connect(EncryptionType::Plain);
        let ready = service.and_then(|service| {
            let locked = service.get_default_collection()?.is_locked()?;
            Ok(locked == password.is_none())
        });
        match ready {
            Ok(true) => return Ok(keyring),
            _ if started.elapsed() < START_TIME_LIMIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(false) => return Err("gnome-keyring-daemon does not unlock its keyring".to_owned()),
            Err(error) => return Err(format!("gnome-keyring-daemon does not start: {error}")),
        }
    }
}

impl Daemon {
    fn start(name: &str, mut program: Command) -> Result<Self, String> {
        match program.spawn() {
            Ok(child) => Ok(Self(child)),
            Err(error) => Err(format!("{name} cannot be started: {error}")),
        }
    }

    fn end(&mut self) {
        // Fails if the program has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
