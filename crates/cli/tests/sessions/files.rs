//! Files that another user can change, mounted files, and files that are no files.
//!
//! Super-users run the tests that need files of other users; the other tests run as any user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use insta::assert_snapshot;

use crate::user::{CLIENT, CommandOutput, SERVICE, SERVICE_SECRET, User};

/// A user and a group without an entry in the system's files.
const OTHER: u32 = 43_210;

impl User {
    fn config_directory(&self) -> PathBuf {
        self.home().join(".config/token-rotator")
    }

    fn config_file(&self) -> PathBuf {
        self.config_directory().join("config.toml")
    }

    fn is_super_user(&self) -> bool {
        fs::metadata(self.home()).expect("a home").uid() == 0
    }

    fn with_config(&self, file: &Path) -> CommandOutput {
        self.run(&["status", "--config", file.to_str().expect("text")])
    }

    /// Gives the whole home to the other user, and returns a command that this user runs.
    fn command_of_other(&self, script: &str) -> Command {
        let given = Command::new("chown")
            .args(["-R", &format!("{OTHER}:{OTHER}")])
            .arg(self.home())
            .status();
        assert!(given.expect("chown runs").success());
        let mut command = self.program("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_token-rotator")]);
        command.uid(OTHER).gid(OTHER);
        command
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the test owns it");
}

fn refused(output: &CommandOutput, why: &str) {
    assert_eq!(output.code, 1, "{why}: {output:?}");
    assert!(output.stderr.contains(why), "{why}: {output:?}");
    assert!(output.stderr.contains("\nhint: "), "{output:?}");
}

/// "Configuration that other users can write is trusted": every file, and nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_can_write_is_refused() {
    let user = User::signed_in().await;
    user.configure("");
    let session_file = user.config_directory().join("sessions/default.toml");
    let refreshes = user.issuer.counters().refreshes;
    for (file, command) in [
        (user.config_file(), &["status"][..]),
        (session_file, &["token", "--refresh"]),
    ] {
        set_mode(&file, 0o606);
        let output = user.run(command);
        refused(&output, "the file can be changed by others (mode 606)");
        assert!(output.stderr.contains("is not trusted"), "{output:?}");
        let name = file.file_name().expect("a name").to_str().expect("text");
        let hint = "hint: chmod go-w '~/.config/token-rotator/";
        assert!(output.stderr.contains(hint), "{output:?}");
        assert!(output.stderr.ends_with(&format!("{name}'\n")), "{output:?}");
        set_mode(&file, 0o644);
        assert_eq!(user.run(command).code, 0);
    }
    assert_eq!(user.issuer.counters().refreshes, refreshes + 1);

    let secret = user.home().join("secret");
    fs::write(&secret, SERVICE_SECRET).expect("a file");
    set_mode(&secret, 0o602);
    let text = format!(
        "[sessions.svc]\nclient_id = \"{SERVICE}\"\ngrant = \"client-credentials\"\n\
         token_endpoint = \"{}\"\nclient_secret_file = \"{}\"\n",
        user.issuer.token_url(),
        secret.display(),
    );
    user.configure(&text);
    let output = user.run(&["token", "--session", "svc"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `svc`
      because the access token could not be refreshed: the client's secret cannot be read: ~/secret: the file can be changed by others (mode 602)
    hint: chmod go-w '~/secret'
    ");
    set_mode(&secret, 0o640);
    assert_eq!(user.run(&["token", "--session", "svc"]).code, 0);

    let authority = user.home().join("ca.pem");
    fs::write(&authority, "").expect("a file");
    set_mode(&authority, 0o666);
    let ca_file = format!("ca_file = \"{}\"\n", authority.display());
    user.configure(&format!("{text}{ca_file}"));
    let output = user.run(&["token", "--session", "svc"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the certificates in ~/ca.pem cannot be used
      because the file can be changed by others (mode 666)
    hint: chmod go-w '~/ca.pem'
    ");
}

/// A directory on the way to the file counts as the file does, and so does a link.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_can_write_is_refused() {
    let user = User::new().await;
    user.configure("");
    let open = user.home().join("open");
    let inner = open.join("inner");
    fs::create_dir_all(&inner).expect("a directory");
    let file = inner.join("config.toml");
    fs::write(&file, "").expect("a file");
    set_mode(&open, 0o777);
    let output = user.with_config(&file);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/open/inner/config.toml is not trusted
      because ~/open on the way to it can be changed by others (mode 777)
    hint: chmod go-w '~/open'
    ");
    let link = user.home().join("link.toml");
    symlink("open/inner/../inner/config.toml", &link).expect("a link");
    refused(&user.with_config(&link), "on the way to it");
    set_mode(&open, 0o755);
    assert_eq!(user.with_config(&link).code, 0);
    // The link itself lies where another user can replace it.
    set_mode(&open, 0o757);
    let exposed_link = open.join("config.toml");
    symlink(user.config_file(), &exposed_link).expect("a link");
    refused(&user.with_config(&exposed_link), "on the way to it");
    // A link that leads to itself.
    let circle = user.home().join("circle");
    symlink("circle", &circle).expect("a link");
    assert_eq!(user.with_config(&circle).code, 1);
}

/// Owners and groups: the user and root, and the user's own private group.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_user_or_group_is_refused() {
    let user = User::new().await;
    if !user.is_super_user() {
        return;
    }
    user.configure("");
    let file = user.config_file();
    chown(&file, Some(OTHER), None).expect("a super-user");
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.config/token-rotator/config.toml is not trusted
      because the file belongs to another user (43210)
    hint: make it yours or root's: chown 0 '~/.config/token-rotator/config.toml'
    ");
    chown(&file, Some(0), Some(OTHER)).expect("a super-user");
    set_mode(&file, 0o664);
    let output = user.run(&["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: ~/.config/token-rotator/config.toml is not trusted
      because the file can be changed by the group 43210 (mode 664)
    hint: chmod go-w '~/.config/token-rotator/config.toml'
    ");
    set_mode(&file, 0o644);
    assert_eq!(user.run(&["status"]).code, 0);
    // umask 0002 with the private group of root.
    chown(&file, Some(0), Some(0)).expect("a super-user");
    set_mode(&file, 0o664);
    set_mode(&user.config_directory(), 0o775);
    assert_eq!(user.run(&["status"]).code, 0);
}

/// umask 0002: the user's own private group may write. A login, a refresh and a sign-out work.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_umask_0002_is_served() {
    let user = User::new().await;
    if !user.is_super_user() {
        return;
    }
    let token_url = user.issuer.token_url();
    let login = format!(
        "umask 0002; mkdir -p ~/.config/token-rotator; : > ~/.config/token-rotator/config.toml; \
         \"$1\" login --grant refresh-token --client-id {CLIENT} --token-endpoint {token_url}"
    );
    let output = user.with_input(user.command_of_other(&login), &user.refresh_token());
    assert_eq!(output.code, 0, "{output:?}");
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").mode() & 0o777;
    assert_eq!(mode(user.config_file()), 0o664);
    assert_eq!(mode(user.config_directory()), 0o775);
    let token = user.output_of(user.command_of_other("umask 0002; \"$1\" token --refresh"));
    assert_eq!((token.code, token.stderr.as_str()), (0, ""), "{token:?}");
    // A file of root that the user's private group may write.
    let command = user.command_of_other("\"$1\" status");
    chown(user.config_file(), Some(0), Some(OTHER)).expect("a super-user");
    let output = user.output_of(command);
    assert_eq!(output.code, 0, "{output:?}");
}

/// A volume of Kubernetes: a sticky directory of root that others can write, and links in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_an_orchestrator_is_read() {
    let user = User::new().await;
    if !user.is_super_user() {
        return;
    }
    let volume = user.home().join("volume");
    let version = volume.join("..2026_11_29_10_00_00.1");
    fs::create_dir_all(&version).expect("a directory");
    set_mode(&volume, 0o1777);
    symlink("..2026_11_29_10_00_00.1", volume.join("..data")).expect("a link");
    for name in ["config.toml", "key"] {
        symlink(format!("..data/{name}"), volume.join(name)).expect("a link");
    }
    fs::write(version.join("config.toml"), "").expect("a file");
    fs::write(version.join("key"), "ab".repeat(32)).expect("a file");
    chown(version.join("key"), Some(0), Some(OTHER)).expect("a super-user");
    set_mode(&version.join("key"), 0o440);

    let config = volume.join("config.toml");
    let key = format!("file:{}", volume.join("key").display());
    let with_key = |arguments: &[&str]| {
        let mut command = user.command(arguments);
        command.arg("--config").arg(&config).args(["--key", &key]);
        command
    };
    let mut login = with_key(&["login", "--grant", "refresh-token", "--client-id", CLIENT]);
    login.args(["--token-endpoint", user.issuer.token_url()]);
    let output = user.with_input(login, &user.refresh_token());
    assert_eq!(output.code, 0, "{output:?}");
    let output = user.output_of(with_key(&["token", "--refresh"]));
    assert_eq!(output.code, 0, "{output:?}");
    let doctor = user.output_of(with_key(&["doctor"]));
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let note = "volume/key can be read by its group (mode 440)";
    assert!(doctor.stdout.contains(note), "{doctor:?}");

    // A key that the program makes there, as in an `emptyDir` in memory.
    let new_key = volume.join("new-key");
    let store = user.home().join("store");
    let mut login = user.command(&["login", "--grant", "refresh-token", "--client-id", CLIENT]);
    login.args(["--token-endpoint", user.issuer.token_url()]);
    login.arg("--store").arg(&store);
    login
        .arg("--key")
        .arg(format!("file:{}", new_key.display()));
    let output = user.with_input(login, &user.refresh_token());
    assert_eq!(output.code, 0, "{output:?}");
    let mode = fs::metadata(&new_key).expect("a key").mode() & 0o777;
    assert_eq!(mode, 0o600);

    // Every user of the machine could read the key.
    set_mode(&version.join("key"), 0o444);
    let output = user.output_of(with_key(&["token"]));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session could not be read from its store: ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: the key file ~/volume/key: it can be read by every user of this machine (mode 444)
    hint: chmod o-r '~/volume/key'; for a Secret of Kubernetes set `defaultMode: 0440`
    ");
    set_mode(&version.join("key"), 0o440);
    // Another user has put a link into the shared directory.
    fs::remove_file(volume.join("..data")).expect("ours");
    symlink("..2026_11_29_10_00_00.1", volume.join("..data")).expect("a link");
    std::os::unix::fs::lchown(volume.join("..data"), Some(OTHER), None).expect("a super-user");
    refused(
        &user.output_of(with_key(&["status"])),
        "belongs to another user (43210)",
    );
}

/// Nix: the configuration is a link into a store whose directory a group of builders can write.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_into_a_store_of_nix_is_read() {
    let user = User::new().await;
    if !user.is_super_user() {
        return;
    }
    let store = user.home().join("nix/store");
    let package = store.join("0c1d-home-manager-files");
    fs::create_dir_all(&package).expect("a directory");
    fs::write(package.join("config.toml"), "").expect("a file");
    set_mode(&package.join("config.toml"), 0o444);
    set_mode(&package, 0o555);
    chown(&store, Some(0), Some(OTHER)).expect("a super-user");
    set_mode(&store, 0o1775);
    fs::create_dir_all(user.config_directory()).expect("a directory");
    symlink(package.join("config.toml"), user.config_file()).expect("a link");
    let output = user.run(&["status"]);
    assert_eq!(output.code, 0, "{output:?}");
    // Without the sticky bit, the builders could replace the package.
    set_mode(&store, 0o775);
    refused(&user.run(&["status"]), "can be changed by the group 43210");
}

/// "Config as FIFO hangs, as /dev/zero eats memory": only regular files of bounded length are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_and_a_device_are_refused() {
    let user = User::new().await;
    let pipe = user.home().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    assert_snapshot!(user.with_config(&pipe).report(), @"
    exit code 1
    error: ~/pipe cannot be read
      because it is no regular file
    hint: name a regular file
    ");
    assert_snapshot!(user.with_config(Path::new("/dev/zero")).report(), @"
    exit code 1
    error: /dev/zero cannot be read
      because it is no regular file
    hint: name a regular file
    ");
    let long = user.home().join("long.toml");
    let file = fs::File::create(&long).expect("a file");
    file.set_len(1 << 30).expect("a sparse file");
    assert_snapshot!(user.with_config(&long).report(), @"
    exit code 1
    error: ~/long.toml cannot be read
      because it is longer than 1048576 bytes
    hint: name a shorter file
    ");

    let token_url = user.issuer.token_url();
    for key in ["client_secret_file", "ca_file"] {
        for file in [&*pipe, Path::new("/dev/zero")] {
            let file = file.display();
            user.configure(&format!(
                "[sessions.default]\nclient_id = \"{SERVICE}\"\ngrant = \"client-credentials\"\n\
                 token_endpoint = \"{token_url}\"\n{key} = \"{file}\"\n"
            ));
            refused(&user.run(&["token"]), "it is no regular file");
        }
    }
    user.configure("");
    let key = format!("file:{}", pipe.display());
    let output = user.run(&["status", "--store", "redis://127.0.0.1:1", "--key", &key]);
    refused(&output, "it is no regular file");
    // A session file, which `login` also compares with what it would write.
    let sessions = user.config_directory().join("sessions");
    fs::create_dir_all(&sessions).expect("a directory");
    fs::rename(&pipe, sessions.join("default.toml")).expect("ours");
    refused(&user.run(&["token"]), "it is no regular file");
    let output = user.login("default", &user.refresh_token());
    refused(&output, "it is no regular file");
    assert_eq!(user.issuer.counters().refreshes, 0);
}
