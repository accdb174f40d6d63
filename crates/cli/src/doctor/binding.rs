//! Checks what the key seals: the addresses of a login, and a sign-out.

use token_rotator::TokenSource as _;
use token_rotator::store::SessionStore as _;

use super::finding::Finding;
use crate::config::SessionName;
use crate::session::NamedSession;

/// Compares the binding of the record with the settings. Other checks report what cannot be read.
pub(super) async fn check_binding(session: &NamedSession<'_>) -> Option<Finding> {
    let record = session.store().load(&session.key()).await.ok()??;
    let sealed = record.binding()?;
    let current = session.source().binding(&session.key()).await.ok()??;
    let error = sealed.check(&current).err()?;
    Some(other_address(&session.name, error.to_string()))
}

fn other_address(name: &SessionName, what: String) -> Finding {
    Finding::bad(
        "addresses",
        what,
        format!(
            "correct the settings; if the new address is right, `token-rotator rebind --session {name}` \
             moves the session to it"
        ),
    )
}

/// Reports a sign-out that the key of the store did not seal.
pub(super) async fn check_sign_out(session: &NamedSession<'_>) -> Option<Finding> {
    let record = session.store().load(&session.key()).await.ok()??;
    record
        .is_unsealed_sign_out()
        .then(|| unsealed_sign_out(&session.name))
}

fn unsealed_sign_out(name: &SessionName) -> Finding {
    Finding::fair(
        "sign-out",
        "the key of the store did not seal it: an earlier version, a logout without the key, or \
         another program wrote it",
        format!("if you did not sign out, sign in again: `token-rotator login --session {name}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_key_does_not_seal() {
        let name = "work".parse().expect("a name");
        let address = other_address(&name, "its settings name another issuer".to_owned());
        let text = [address, unsealed_sign_out(&name)].map(|finding| finding.text());
        let text = anstream::adapter::strip_str(&text.concat()).to_string();
        insta::assert_snapshot!(text, @"
        bad  addresses: its settings name another issuer
             hint: correct the settings; if the new address is right, `token-rotator rebind --session work` moves the session to it
        note sign-out: the key of the store did not seal it: an earlier version, a logout without the key, or another program wrote it
             hint: if you did not sign out, sign in again: `token-rotator login --session work`
        ");
    }
}
