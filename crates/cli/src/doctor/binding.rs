//! Checks what the key seals: the addresses of a login, and a sign-out.

use token_rotator::TokenSource as _;
use token_rotator::store::SessionStore as _;

use super::finding::Finding;
use crate::session::NamedSession;

/// Compares the binding of the record with the settings. Other checks report what cannot be read.
pub(super) async fn check_binding(session: &NamedSession<'_>) -> Option<Finding> {
    let record = session.store().load(&session.key()).await.ok()??;
    let sealed = record.binding()?;
    let current = session.source().binding(&session.key()).await.ok()??;
    let error = sealed.check(&current).err()?;
    let name = &session.name;
    Some(Finding::bad(
        "addresses",
        error.to_string(),
        format!(
            "correct the settings; if the new address is right, `token-rotator rebind --session {name}` \
             moves the session to it"
        ),
    ))
}

/// Reports a sign-out that the key of the store did not seal.
pub(super) async fn check_sign_out(session: &NamedSession<'_>) -> Option<Finding> {
    let record = session.store().load(&session.key()).await.ok()??;
    record.is_unsealed_sign_out().then(|| {
        Finding::fair(
            "sign-out",
            "the key of the store did not seal it: an earlier version, a logout without the key, or \
             another program wrote it",
            format!("if you did not sign out, sign in again: `token-rotator login --session {}`", session.name),
        )
    })
}
