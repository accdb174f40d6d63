//! Real servers for tests of stores. Each has its own directory and port, and ends when its value is dropped.
//!
//! - `redis`, `postgres` and `pgbouncer`: one server each
//! - `process`: the child process, its log and its directory

mod pgbouncer;
mod postgres;
mod process;
mod redis;

pub use self::pgbouncer::PgBouncer;
pub use self::postgres::PostgresServer;
pub use self::redis::RedisServer;

use std::path::PathBuf;

/// A program that the tests start.
struct Program {
    name: &'static str,
    /// Directories to search besides `PATH` and the `PostgreSQL` directories of Debian.
    other_directories: &'static [&'static str],
    package: &'static str,
    /// Names an environment variable. If it is set, tests that need the program are skipped with its value as the
    /// reason.
    skip_variable: &'static str,
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
            .chain(self.other_directories.iter().map(PathBuf::from))
            .chain(versions.into_iter().map(|version| version.join("bin")))
            .map(|directory| directory.join(self.name))
            .find(|path| path.is_file())
    }

    /// Returns why tests that need the program are skipped. Returns `None` if the program can run.
    ///
    /// # Panics
    ///
    /// Panics if the program is not installed and the environment variable `CI` is `true`, so that CI skips no test by
    /// accident.
    fn skip_reason(&self) -> Option<String> {
        let reason = if let Ok(reason) = std::env::var(self.skip_variable) {
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
        Some(format!("skipped: {} cannot run: {reason}", self.name))
    }

    /// Returns the program's path. Call [`skip_reason`](Self::skip_reason) first.
    fn expect(&self) -> PathBuf {
        self.path().expect("the program is installed")
    }
}
