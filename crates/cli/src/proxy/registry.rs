//! The running proxies of this user: one file each, by which `reload` finds the proxy and reads the
//! outcome of a reload.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command_error::CommandError;
use crate::config::{UserPaths, private_directory};

/// The content of a proxy's file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ProxyEntry {
    pub(super) pid: u32,
    pub(super) config: PathBuf,
    /// The number of reloads, failed ones included.
    pub(super) reloads: u64,
    /// The error of the last reload; `None` if it succeeded.
    pub(super) error: Option<String>,
    /// The hint of that error.
    #[serde(default)]
    pub(super) hint: Option<String>,
}

/// The entry of this process. Dropping it removes the entry.
pub(super) struct Registration {
    entry: ProxyEntry,
    file: PathBuf,
    /// Locked while the process lives. The system releases the lock even after a crash.
    _lock: File,
}

impl Registration {
    /// Enters this process. Returns `None` if that fails: the proxy serves without an entry.
    pub(super) fn enter(paths: &UserPaths) -> Option<Self> {
        match Self::try_enter(paths) {
            Ok(registration) => Some(registration),
            Err(error) => {
                tracing::warn!(%error, "`token-rotator reload` will not find this proxy");
                None
            }
        }
    }

    fn try_enter(paths: &UserPaths) -> io::Result<Self> {
        let directory = directory(paths);
        private_directory(&directory)?;
        let pid = std::process::id();
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(directory.join(format!("{pid}.lock")))?;
        lock.lock()?;
        let registration = Self {
            entry: ProxyEntry {
                pid,
                config: absolute_path(&paths.config_file),
                reloads: 0,
                error: None,
                hint: None,
            },
            file: directory.join(format!("{pid}.json")),
            _lock: lock,
        };
        registration.write()?;
        Ok(registration)
    }

    /// Writes the outcome of a reload.
    pub(super) fn reloaded(&mut self, error: Option<&CommandError>) {
        self.entry.reloads += 1;
        self.entry.error = error.map(ToString::to_string);
        self.entry.hint = error.map(|error| error.hint_text().to_owned());
        if let Err(error) = self.write() {
            tracing::warn!(%error, "`token-rotator reload` will not see the outcome of this reload");
        }
    }

    fn write(&self) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&self.entry)?)?;
        std::fs::rename(beside, &self.file)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(self.file.with_extension("lock"));
    }
}

/// Returns the proxies that run with this configuration. Removes the files of killed proxies.
pub(super) fn running(paths: &UserPaths) -> io::Result<Vec<ProxyEntry>> {
    let entries = match std::fs::read_dir(directory(paths)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut running = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let lock = file.with_extension("lock");
        let is_running = File::open(&lock).is_ok_and(|lock| lock.try_lock_shared().is_err());
        if !is_running {
            let _ = std::fs::remove_file(&file);
            let _ = std::fs::remove_file(lock);
            continue;
        }
        running.extend(read(&file));
    }
    let config = absolute_path(&paths.config_file);
    running.retain(|entry: &ProxyEntry| entry.config == config);
    Ok(running)
}

/// Returns the current entry of the proxy with this pid.
pub(super) fn entry(paths: &UserPaths, pid: u32) -> Option<ProxyEntry> {
    read(&directory(paths).join(format!("{pid}.json")))
}

fn read(file: &Path) -> Option<ProxyEntry> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Returns the directory of the entries.
pub(super) fn directory(paths: &UserPaths) -> PathBuf {
    paths.state.join("proxies")
}

fn absolute_path(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
