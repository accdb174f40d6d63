//! Checks who can read the files of secrets that the operator names.

use std::fmt::Display;
use std::path::Path;

use token_rotator::files::TrustedFile;

use super::finding::Finding;
use crate::session::{Context, NamedSession};

/// The longest file that is read. A longer file is reported where the file is used.
const BYTES_MAX: u64 = 64 * 1024;

/// Checks the key file that a flag or the configuration names.
pub(super) fn check_key_file(context: &Context) -> Option<Finding> {
    readable(context.named_key_file()?, "key")
}

/// Checks the file with the client's secret.
pub(super) fn check_secret_file(session: &NamedSession<'_>) -> Option<Finding> {
    readable(
        session.settings.client_secret_file.as_deref()?,
        "client secret",
    )
}

/// Reports a file of a secret that other users can read. A mounted file may have to be readable.
fn readable(path: &Path, check: &'static str) -> Option<Finding> {
    let file = TrustedFile::read(path, BYTES_MAX).ok().flatten()?;
    let readers = file.readers()?;
    Some(readable_by(path, readers, check))
}

fn readable_by(path: &Path, readers: impl Display, check: &'static str) -> Finding {
    let path = path.display();
    Finding::fair(
        check,
        format!("{path} {readers}"),
        format!(
            "if no other user needs it: chmod 600 '{path}'; for a Secret of Kubernetes set `defaultMode: 0400`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read() {
        let finding = readable_by(Path::new("/run/key"), "can be read by a group", "key");
        let text = anstream::adapter::strip_str(&finding.text()).to_string();
        insta::assert_snapshot!(text, @"
        note key: /run/key can be read by a group
             hint: if no other user needs it: chmod 600 '/run/key'; for a Secret of Kubernetes set `defaultMode: 0400`
        ");
    }
}
