//! Whether an answer belongs to the session's user: compares the subjects of two token sets.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::token::secret::ExposeSecret as _;
use crate::token::token_set::TokenSet;

/// Returns whether the token sets name two different users. A token set that names no user differs
/// from no other.
pub(crate) fn differs(last: &TokenSet, next: &TokenSet) -> bool {
    let stated = |tokens: &TokenSet| {
        let sub = tokens.extra("sub")?.expose_secret();
        (!sub.is_empty()).then(|| sub.to_owned())
    };
    let differ = |one: Option<String>, other: Option<String>| {
        one.zip(other).is_some_and(|(one, other)| one != other)
    };
    differ(of_id_token(last), of_id_token(next)) || differ(stated(last), stated(next))
}

/// Returns the subject of the `id_token` (`OpenID` Connect Core section 2). A refresh
/// must not change it (section 12.2).
fn of_id_token(tokens: &TokenSet) -> Option<String> {
    let token = tokens.id_token()?.expose_secret();
    let payload = token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let subject = claims.get("sub")?.as_str()?;
    (!subject.is_empty()).then(|| subject.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_token(claims: &str) -> TokenSet {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(claims);
        TokenSet::bearer("a").with_id_token(format!("e30.{payload}."))
    }

    /// Property: only two subjects that are both readable can differ.
    #[test]
    fn two_readable_subjects_differ() {
        let alice = || id_token(r#"{"sub":"alice"}"#);
        let bob = id_token(r#"{"sub":"bob"}"#);
        assert!(differs(&alice(), &bob));
        assert!(!differs(&alice(), &id_token(r#"{"sub":"alice","exp":7}"#)));
        let silent = [
            TokenSet::bearer("a"),
            TokenSet::bearer("a").with_id_token("opaque"),
            id_token("{}"),
            id_token(r#"{"sub":""}"#),
            id_token(r#"{"sub":7}"#),
            id_token("no json"),
        ];
        for silent in &silent {
            assert!(!differs(&alice(), silent) && !differs(silent, &alice()));
        }
    }

    /// Property: a `sub` beside the tokens counts too.
    #[test]
    fn a_subject_beside_the_tokens_counts() {
        let named = |name: &str| TokenSet::bearer("a").with_extra("sub", name);
        assert!(differs(&named("alice"), &named("bob")));
        assert!(!differs(&named("alice"), &named("alice")));
        assert!(!differs(&named("alice"), &named("")));
    }
}
