//! Who runs: a file for each proxy of this user's, by which `reload` finds it and hears what came
//! of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command_error::CommandError;
use crate::config::{Places, private_directory};

/// What a proxy says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Notice {
    pub(super) pid: u32,
    pub(super) config: PathBuf,
    /// How often it has read its configuration again, in vain or not.
    pub(super) reloads: u64,
    /// Why the last time was in vain, and what to do.
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) hint: Option<String>,
}

/// A running proxy's own entry. Dropped, it is taken out.
pub(super) struct Register {
    notice: Notice,
    file: PathBuf,
    /// Locked as long as the process runs, however it ends.
    _lock: File,
}

impl Register {
    /// Enters this process. One that cannot be entered serves all the same.
    pub(super) fn enter(places: &Places) -> Option<Self> {
        match Self::try_enter(places) {
            Ok(register) => Some(register),
            Err(error) => {
                tracing::warn!(%error, "`token-rotator reload` will not find this proxy");
                None
            }
        }
    }

    fn try_enter(places: &Places) -> io::Result<Self> {
        let directory = directory(places);
        private_directory(&directory)?;
        let pid = std::process::id();
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(directory.join(format!("{pid}.lock")))?;
        lock.lock()?;
        let register = Self {
            notice: Notice {
                pid,
                config: whole(&places.config_file),
                reloads: 0,
                error: None,
                hint: None,
            },
            file: directory.join(format!("{pid}.json")),
            _lock: lock,
        };
        register.write()?;
        Ok(register)
    }

    /// Tells what came of a reload.
    pub(super) fn reloaded(&mut self, error: Option<&CommandError>) {
        self.notice.reloads += 1;
        self.notice.error = error.map(ToString::to_string);
        self.notice.hint = error.map(|error| error.hint_text().to_owned());
        if let Err(error) = self.write() {
            tracing::warn!(%error, "`token-rotator reload` will not hear of this reload");
        }
    }

    fn write(&self) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&self.notice)?)?;
        std::fs::rename(beside, &self.file)
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(self.file.with_extension("lock"));
    }
}

/// The proxies that run with this configuration. What those left behind that were killed goes.
pub(super) fn running(places: &Places) -> io::Result<Vec<Notice>> {
    let entries = match std::fs::read_dir(directory(places)) {
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
        let held = File::open(&lock).is_ok_and(|lock| lock.try_lock_shared().is_err());
        if !held {
            let _ = std::fs::remove_file(&file);
            let _ = std::fs::remove_file(lock);
            continue;
        }
        running.extend(read(&file));
    }
    let config = whole(&places.config_file);
    running.retain(|notice: &Notice| notice.config == config);
    Ok(running)
}

/// What the proxy of this pid says now.
pub(super) fn notice(places: &Places, pid: u32) -> Option<Notice> {
    read(&directory(places).join(format!("{pid}.json")))
}

fn read(file: &Path) -> Option<Notice> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn directory(places: &Places) -> PathBuf {
    places.state.join("proxies")
}

fn whole(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
