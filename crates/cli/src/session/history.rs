//! The history of a session: a file with a line of JSON for each generation of its tokens and for each
//! failure. Every process that uses the session writes it. It has hashes of tokens, never tokens.
//!
//! `entry.rs`: one line of the file.

mod entry;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Purpose, WeakRotator};

pub(crate) use self::entry::{Entry, FailureLabel, HistoryEvent, token_fingerprint};
use crate::config::{SessionName, file_of_session, private_directory};

/// Size in bytes at which the file is rotated: it replaces the previous old file.
const BYTES_MAX: u64 = 256 * 1024;

/// The history of one session.
#[derive(Clone, Debug)]
pub(crate) struct History {
    file: PathBuf,
    command: &'static str,
}

impl History {
    /// Opens the history in the user's state directory. It covers this machine only, even if the store
    /// is shared.
    pub(crate) fn of(state: &Path, session: &SessionName, command: &'static str) -> Self {
        Self {
            command,
            file: file_of_session(&state.join("history"), session.as_str(), "jsonl"),
        }
    }

    /// Returns a listener that writes the events of a rotator. `rotator` is set once it is built.
    pub(crate) fn listener(
        &self,
        rotator: Arc<OnceLock<WeakRotator>>,
    ) -> impl Fn(&Event) + Send + Sync + 'static {
        let history = self.clone();
        let why = Mutex::new(None);
        move |event| {
            if let Event::RefreshStarted { flight, purpose } = event {
                *why.lock().unwrap_or_else(PoisonError::into_inner) = Some((*flight, *purpose));
            }
            let purpose = |flight: &u64| -> Option<Purpose> {
                let why = why.lock().unwrap_or_else(PoisonError::into_inner);
                why.filter(|(started, _)| started == flight)
                    .map(|(_, purpose)| purpose)
            };
            let Some(event) = HistoryEvent::of(event, purpose) else {
                return;
            };
            let rotator = rotator.get().and_then(WeakRotator::upgrade);
            let token = rotator
                .and_then(|rotator| rotator.access_token())
                .filter(|_| event.has_new_token())
                .map(|token| token_fingerprint(token.secret()));
            history.write(&Entry::now(history.command, event, token));
        }
    }

    /// Adds an entry. Logs a failure and goes on: a session works without its history.
    pub(crate) fn write(&self, entry: &Entry) {
        if let Err(error) = self.append(entry) {
            tracing::warn!(file = %self.file.display(), %error, "the history cannot be written");
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Some(directory) = self.file.parent() {
            private_directory(directory)?;
        }
        let mut file = self.open()?;
        if file.metadata()?.len() > BYTES_MAX {
            self.rotate()?;
            file = self.open()?;
        }
        // One write per line, so that the lines of several processes do not mix.
        file.write_all(&line)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.file)
    }

    /// Rotates the file. One process does it under a lock; other processes go on writing meanwhile.
    fn rotate(&self) -> io::Result<()> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.file.with_extension("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        // Another process may have rotated the file before this one got the lock.
        if std::fs::metadata(&self.file)?.len() > BYTES_MAX {
            std::fs::rename(&self.file, self.rotated_file())?;
        }
        Ok(())
    }

    fn rotated_file(&self) -> PathBuf {
        self.file.with_extension("old.jsonl")
    }

    /// Returns all entries, the oldest first.
    ///
    /// Skips lines that cannot be parsed: a newer program wrote them, or a full disk cut them off.
    pub(crate) fn read(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in [&self.rotated_file(), &self.file] {
            let text = match std::fs::read(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let lines = text.split(|byte| *byte == b'\n');
            entries.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        }
        Ok(entries)
    }

    /// Returns the path of the file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}
