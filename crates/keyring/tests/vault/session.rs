//! A login session of its own: a D-Bus and a GNOME Keyring that nobody else sees.
//!
//! The address of the bus is in the environment, which a test cannot change for itself alone. So each
//! test starts itself again, in an environment of its own.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secret_service::EncryptionType;
use secret_service::blocking::SecretService;

use super::skip;

/// Set in the process that runs the test itself: the directory that everything of the session is in.
const ROOT: &str = "TOKEN_ROTATOR_TEST_SESSION";
/// What belongs to the session that the tests were started from.
const OF_OTHERS: [&str; 8] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "GNOME_KEYRING_CONTROL",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_DIRS",
];
/// What opens the keyring.
const PASSWORD: &str = "the password of nobody";
/// For two small programs to start, on a busy machine too.
const START: Duration = Duration::from_secs(20);

/// The session. Its programs end with it.
pub(crate) struct Session {
    keyring: Daemon,
    _bus: Daemon,
    root: PathBuf,
}

/// A program that ends with this value.
struct Daemon(Child);

/// Runs the scenario in a session of its own; `name` is that of the test, as cargo prints it.
///
/// Skipped where D-Bus or GNOME Keyring cannot be started.
pub(crate) fn in_a_session(name: &str, scenario: impl AsyncFnOnce(Session)) {
    if let Some(root) = env::var_os(ROOT) {
        match Session::start(Path::new(&root)) {
            Ok(session) => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(scenario(session)),
            Err(why) => skip(&why),
        }
        return;
    }
    // Short: the path of a socket may have 107 bytes.
    let root = tempfile::Builder::new().prefix("tr").tempdir();
    let root = root.expect("a temporary directory");
    let mut again = Command::new(env::current_exe().expect("a test program"));
    again.args(["--exact", name, "--nocapture"]);
    again
        .env(ROOT, root.path())
        .env("HOME", root.path().join("home"));
    again.env("XDG_RUNTIME_DIR", root.path());
    again.env("DBUS_SESSION_BUS_ADDRESS", address(root.path()));
    for variable in OF_OTHERS {
        again.env_remove(variable);
    }
    let output = again.output().expect("the test program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // Not where it passed: whoever counts results would count this one twice.
    assert!(output.status.success(), "it failed in its session: {said}");
    assert!(said.contains("1 passed"), "there is no test called {name}");
}

impl Session {
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

    /// The home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Ends the keyring as if it had crashed. The bus stays.
    pub(crate) fn kill_keyring(&mut self) {
        self.keyring.end();
    }

    /// Starts it again, as after the next login.
    pub(crate) fn restart_keyring(&mut self) {
        self.restart(Some(PASSWORD));
    }

    /// Starts it again, still locked, as after a login without a password.
    pub(crate) fn restart_locked(&mut self) {
        self.restart(None);
    }

    fn restart(&mut self, password: Option<&str>) {
        self.keyring.end();
        self.keyring = start_keyring(password).expect("it has started before");
    }
}

/// What is in the keyring.
#[expect(
    clippy::unused_self,
    reason = "the address is in the environment, but somebody answers there as long as this lives"
)]
impl Session {
    /// Puts an entry beside those that are there.
    pub(crate) fn put(&self, value: &[u8]) {
        let service = connect();
        let collection = service.get_default_collection().expect("one");
        let item = collection.create_item("test", of_the_key().into(), value, false, "text/plain");
        item.expect("unlocked");
    }

    /// The values of the key's entries, and their labels.
    pub(crate) fn values(&self) -> Vec<(String, Vec<u8>)> {
        let service = connect();
        let found = service.search_items(of_the_key().into()).expect("running");
        assert!(found.locked.is_empty());
        let items = found.unlocked.iter().map(|item| {
            let label = item.get_label().expect("unlocked");
            (label, item.get_secret().expect("unlocked"))
        });
        items.collect()
    }

    /// Removes the key's entries.
    pub(crate) fn remove(&self) {
        let service = connect();
        let found = service.search_items(of_the_key().into()).expect("running");
        for item in found.unlocked {
            item.delete().expect("unlocked");
        }
    }
}

fn of_the_key() -> [(&'static str, &'static str); 2] {
    [("service", "token-rotator"), ("username", "data-key")]
}

fn connect() -> SecretService<'static> {
    SecretService::connect(EncryptionType::Dh).expect("it is running")
}

fn address(root: &Path) -> String {
    format!("unix:path={}", root.join("bus").display())
}

/// One that starts nothing by itself: a keyring that was killed stays dead.
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
    let output = bus.0.stdout.take().expect("it is piped");
    let mut line = String::new();
    match BufReader::new(output).read_line(&mut line) {
        Ok(length) if length > 0 => Ok(bus),
        _ => Err("dbus-daemon does not start; its output stands above".to_owned()),
    }
}

/// Unlocked, if the password is given. Its keyring is made the first time.
fn start_keyring(password: Option<&str>) -> Result<Daemon, String> {
    let mut program = Command::new("gnome-keyring-daemon");
    program.args(["--foreground", "--components=secrets"]);
    if password.is_some() {
        program.arg("--unlock");
    }
    program.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut keyring = Daemon::start("gnome-keyring-daemon", program)?;
    let mut input = keyring.0.stdin.take().expect("it is piped");
    // It reads to the end; one that has ended already is told by what follows.
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
            _ if started.elapsed() < START => std::thread::sleep(Duration::from_millis(20)),
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
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
