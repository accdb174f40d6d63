//! What has happened in a session: a line of JSON for each generation of its tokens and for what
//! went wrong, written by every process that uses it. Hashes, never tokens.

mod entry;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Purpose, WeakRotator};

pub(crate) use self::entry::{Entry, Happening, token_mark};
use crate::config::{SessionName, private_directory};

/// Past this size the file makes room: it becomes the old one, and the old one goes.
const BYTES_MAX: u64 = 256 * 1024;

/// The history of one session.
#[derive(Clone, Debug)]
pub(crate) struct History {
    file: PathBuf,
    command: &'static str,
}

impl History {
    /// In the state directory of the user: with a shared store it tells of this machine alone.
    pub(crate) fn of(state: &Path, session: &SessionName, command: &'static str) -> Self {
        Self {
            command,
            file: state.join("history").join(format!("{session}.jsonl")),
        }
    }

    /// Writes down what a rotator tells. `rotator` is set once it is built.
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
            let Some(happening) = Happening::of(event, purpose) else {
                return;
            };
            let rotator = rotator.get().and_then(WeakRotator::upgrade);
            let token = rotator
                .and_then(|rotator| rotator.access_token())
                .filter(|_| happening.brings_token())
                .map(|token| token_mark(token.secret()));
            history.write(&Entry::now(history.command, happening, token));
        }
    }

    /// Adds an entry. A history that cannot be written stops nothing.
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
            self.make_room()?;
            file = self.open()?;
        }
        // One write: lines of several processes do not mix.
        file.write_all(&line)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.file)
    }

    /// One process does it; the others go on writing, into the old file if they are quick.
    fn make_room(&self) -> io::Result<()> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.file.with_extension("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        // Somebody may have done it in between.
        if std::fs::metadata(&self.file)?.len() > BYTES_MAX {
            std::fs::rename(&self.file, self.old())?;
        }
        Ok(())
    }

    fn old(&self) -> PathBuf {
        self.file.with_extension("old.jsonl")
    }

    /// All entries, the oldest first. Lines that cannot be read are passed over: they are a newer
    /// program's, or were cut off by a full disk.
    pub(crate) fn read(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in [&self.old(), &self.file] {
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

    /// Where it is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}
