//! Checks that the settings of a session lead to the addresses of its login.

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
