//! Files with one secret: the client's secret and the local bearer token.

use std::path::Path;

use token_rotator::SecretString;
use token_rotator::files::{FileError, TrustedFile};

use crate::command_error::file_hint;

/// The longest file of a secret that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// Reads a secret from a file that only its user and root can change.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, FileError> {
    let file = TrustedFile::read_existing(path, BYTES_MAX)?;
    // Editors and shells end a file with a line break.
    let secret = file.text()?.trim_end_matches(['\r', '\n']);
    Ok(SecretString::from(secret))
}

/// What to do about a file of a secret. Returns `None` if the cause does not tell.
pub(crate) fn secret_file_hint(error: &FileError) -> Option<&str> {
    match error {
        FileError::Io(error) => file_hint(error),
        error => error.hint(),
    }
}
