//! Root certificates that are trusted in addition to those of the system.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::command_error::CommandError;

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
    let pem = CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = pem
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("it has no certificate".to_owned()));
    }
    Ok(certificates)
}
