//! Certificates that are trusted besides those of the system.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::command_error::CommandError;

/// Those in a file of PEM, as DER; at least one.
pub(crate) fn read(file: &Path) -> Result<Vec<Vec<u8>>, CommandError> {
    let unusable = |why: String| {
        CommandError::new(format!(
            "the certificates in {} cannot be used",
            file.display()
        ))
        .why(why)
        .hint("`ca_file` (`--ca-file`) is to name a file of PEM certificates")
    };
    let pem = CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))?;
    let found: Result<Vec<_>, _> = pem.map(|one| one.map(|one| one.to_vec())).collect();
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    Ok(found)
}
