//! Certificates that the local clock calls invalid.

use std::error::Error;

/// Texts of TLS libraries for a certificate outside its time of validity, in lower case: rustls,
/// OpenSSL, Secure Transport and `SChannel`. An alert about the caller's own certificate
/// (`CertificateExpired`) is not among them.
const TEXTS: [&str; 6] = [
    "not yet valid",
    "not valid yet",
    "certificate expired",
    "certificate has expired",
    "invalid peer certificate: expired",
    "invalid peer certificate: notvalidyet",
];

/// Returns the hint for an error that a certificate outside its time of validity caused: the local
/// clock may be wrong. Returns `None` for other errors.
///
/// The hint comes from the texts of the error and its sources, because every TLS library has error
/// types of its own.
pub fn certificate_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let is_outside = |cause: &(dyn Error + 'static)| {
        let text = cause.to_string().to_ascii_lowercase();
        TEXTS.iter().any(|known| text.contains(known))
    };
    let mut causes = std::iter::successors(Some(error), |cause| inner(*cause));
    causes.any(is_outside).then_some(
        "check this machine's clock, because the certificate is not valid at the time that it \
         shows; if the clock is right, the server needs a new certificate",
    )
}

/// Returns the cause of an error. An `io::Error` shows the text of the error in it, and its source
/// is the source of that error.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let io = error.downcast_ref::<std::io::Error>();
    match io.and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Outer(#[source] io::Error);

    /// Property: the texts of all TLS libraries name the clock, at any depth of the error, and other
    /// certificate errors do not.
    #[test]
    fn a_certificate_outside_its_time_names_the_clock() {
        for (text, expected) in [
            (
                "invalid peer certificate: certificate not valid yet: verification time 0 (UNIX), but \
                 certificate is not valid before 1",
                true,
            ),
            (
                "invalid peer certificate: certificate expired: verification time 2 (UNIX)",
                true,
            ),
            ("invalid peer certificate: Expired", true),
            ("invalid peer certificate: NotValidYet", true),
            (
                "certificate verify failed: (certificate is not yet valid)",
                true,
            ),
            ("certificate verify failed: (certificate has expired)", true),
            ("The certificate has expired or is not yet valid.", true),
            ("invalid peer certificate: UnknownIssuer", false),
            ("received fatal alert: CertificateExpired", false),
            ("connection refused", false),
        ] {
            let inner = io::Error::new(io::ErrorKind::InvalidData, text);
            let nested = Outer(io::Error::other(inner));
            let hint = certificate_hint(&nested);
            assert_eq!(hint.is_some(), expected, "{text}");
            assert!(hint.is_none_or(|hint| hint.contains("clock")), "{text}");
        }
    }
}
