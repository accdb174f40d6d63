//! The systemd unit of the service.

use std::path::Path;
use std::process::{Command, Output};

use crate::{text, tools};

/// Limit of the exposure level of `systemd-analyze security` in tenths. An unhardened service has 96.
const EXPOSURE: &str = "15";

#[test]
fn systemd_accepts_the_unit_and_rates_it_hardened() {
    if tools::missing(
        "systemd-analyze",
        tools::works(Path::new("systemd-analyze"), &["--version"]),
    ) {
        return;
    }
    let unit = text("systemd/token-rotator-proxy.service");
    // The path of the installed program does not exist yet.
    let program = "/usr/bin/token-rotator";
    assert!(
        unit.contains(&format!("ExecStart={program} proxy ")),
        "{unit}"
    );
    let mut unit = unit.replace(program, env!("CARGO_BIN_EXE_token-rotator"));
    if version() < 253 {
        assert!(unit.contains("\nType=notify-reload\n"), "{unit}");
        unit = unit.replace("\nType=notify-reload\n", "\nType=notify\n");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token-rotator-proxy.service");
    std::fs::write(&file, &unit).expect("written");
    let verified = analyze(&["verify", "--man=no"], &file);
    // systemd-analyze only warns of an unknown directive, so the output must be empty.
    assert_eq!((verified.0, verified.1.as_str()), (true, ""));
    let hardened = analyze(
        &[
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            EXPOSURE,
        ],
        &file,
    );
    assert!(hardened.0, "{}", hardened.1);

    // A typing error and a missing filter are found.
    let soft = unit.replace("ProtectSystem=strict", "ProtectSytem=strict");
    std::fs::write(&file, soft.replace("SystemCallFilter=", "# ")).expect("written");
    let verified = analyze(&["verify", "--man=no"], &file);
    assert!(verified.1.contains("ProtectSytem"), "{}", verified.1);
    let hardened = analyze(
        &[
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            EXPOSURE,
        ],
        &file,
    );
    assert!(!hardened.0, "{}", hardened.1);
}

/// Runs systemd-analyze. Returns whether it succeeded, and its output.
fn analyze(arguments: &[&str], file: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(file)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.success(), text(stdout) + &text(stderr))
}

fn version() -> u32 {
    let output = Command::new("systemd-analyze").arg("--version").output();
    let text = String::from_utf8(output.expect("it runs").stdout).expect("text");
    let number = text.split_whitespace().nth(1).expect("a version");
    number.parse().expect("a number")
}
