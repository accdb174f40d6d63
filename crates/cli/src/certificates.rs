//! Root certificates that are trusted in addition to those of the system.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use token_rotator::files::{FileError, TrustedFile};

use crate::command_error::CommandError;

/// The longest file of certificates that is read, in bytes: many times the list of a system.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Reads the certificates of a PEM file as DER.
///
/// *Errors:* the file cannot be read, or it has no certificate.
pub(crate) fn read(file: &Path) -> Result<Vec<Vec<u8>>, CommandError> {
    let unusable = |why: String| {
        CommandError::new(format!(
            "the certificates in {} cannot be used",
            file.display()
        ))
        .why(why)
        .hint("name a file of PEM certificates with `ca_file` (`--ca-file`)")
    };
    let pem = TrustedFile::read_existing(file, BYTES_MAX).map_err(|error| {
        let unusable = unusable(match &error {
            FileError::Io(error) => format!("I/O error: {error}"),
            error => error.to_string(),
        });
        match error.hint() {
            Some(hint) => unusable.hint(hint),
            None => unusable,
        }
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes())
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("it has no certificate".to_owned()));
    }
    Ok(certificates)
}
