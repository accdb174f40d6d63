//! Real servers to test stores against, each in a directory and on a port of its own, ended with
//! the value that started it.

mod pgbouncer;
mod postgres;
mod process;
mod redis;

pub use self::pgbouncer::PgBouncer;
pub use self::postgres::PostgresServer;
pub use self::redis::RedisServer;

use std::path::PathBuf;

/// A program that the tests start, and how they do without.
struct Program {
    name: &'static str,
    /// Where Debian keeps it, besides what `PATH` names and the folders of `PostgreSQL`.
    elsewhere: &'static [&'static str],
    package: &'static str,
    /// Set to a reason, it lets the tests that need the program be skipped.
    without: &'static str,
}

impl Program {
    fn path(&self) -> Option<PathBuf> {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
        versions.sort_by_key(|path| {
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.parse::<u32>().ok());
            std::cmp::Reverse(number)
        });
        std::env::split_paths(&search)
            .chain(self.elsewhere.iter().map(PathBuf::from))
            .chain(versions.into_iter().map(|version| version.join("bin")))
            .map(|directory| directory.join(self.name))
            .find(|path| path.is_file())
    }

    /// Why the tests that need it are to be skipped; `None`: they are not.
    ///
    /// # Panics
    ///
    /// If it is not installed where `CI` is `true`: there, nothing is skipped by accident.
    fn missing(&self) -> Option<String> {
        let reason = if let Ok(reason) = std::env::var(self.without) {
            reason
        } else if self.path().is_some() {
            return None;
        } else {
            let reason = format!(
                "{} is not installed (Debian: {}); run `cargo xtask test --only install`",
                self.name, self.package
            );
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{reason}");
            reason
        };
        Some(format!("skipped, for want of {}: {reason}", self.name))
    }

    /// Its path. Call it after [`missing`](Self::missing).
    fn expect(&self) -> PathBuf {
        self.path().expect("it is installed")
    }
}
