//! The user of a session, as git hosts name users.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use token_rotator::{ExposeSecret as _, SecretString, TokenSet};

use crate::command_error::CommandError;
use crate::session::NamedSession;

/// User names that stand for every user: git hosts read the token and ignore the name.
const ANY_USER: [&str; 8] = [
    "oauth2",
    "x-access-token",
    "x-oauth-basic",
    "x-token-auth",
    "git",
    "token",
    "bearer",
    "PersonalAccessToken",
];

/// Claims of a token that name its user (`OpenID` Connect Core section 5.1; Microsoft Entra ID; GitLab).
const CLAIMS: [&str; 9] = [
    "preferred_username",
    "nickname",
    "username",
    "user_name",
    "login",
    "email",
    "upn",
    "unique_name",
    "sub",
];

/// The names of a session's user.
pub(super) struct UserNames(Vec<String>);

impl UserNames {
    /// Returns the configured name. Without one: the names that the `id_token` and the access token
    /// have for their user, and the name of the session.
    pub(super) fn of(session: &NamedSession<'_>, tokens: &TokenSet) -> Self {
        if let Some(user) = &session.settings.username {
            return Self(vec![user.clone()]);
        }
        let mut names: Vec<_> = [tokens.id_token(), Some(tokens.access_token())]
            .into_iter()
            .flatten()
            .filter_map(claims)
            .flat_map(|claims| names(&claims))
            .collect();
        names.push(session.name.to_string());
        Self(names)
    }

    /// Returns whether this session's token may be given to this user.
    pub(super) fn answer_for(&self, user: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(user);
        ANY_USER.iter().any(|name| is(name)) || self.0.iter().any(|name| is(name))
    }
}

/// The warning that git asks for another user. git then asks its next helper.
pub(super) fn other_user(session: &NamedSession<'_>, user: &str) -> CommandError {
    CommandError::new(format!(
        "session `{}` does not answer for user `{}`",
        session.name,
        user.escape_debug()
    ))
    .why("its tokens do not name this user")
    .hint(format!(
        "if the session is this user's, say so: `username = \"{}\"` under [sessions.{}] in {}; if not, \
         name the user's session in git's configuration: `token-rotator token --session NAME`",
        user.escape_debug(),
        session.name,
        session.config_file().display()
    ))
}

/// Returns the claims of a JWT. They decide only which helper answers git, so no signature is checked.
fn claims(token: &SecretString) -> Option<Map<String, Value>> {
    let payload = token.expose_secret().split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    serde_json::from_slice(&payload.ok()?).ok()
}

fn names(claims: &Map<String, Value>) -> Vec<String> {
    let texts = CLAIMS.iter().filter_map(|name| claims.get(*name)?.as_str());
    let texts: Vec<_> = texts.map(str::to_owned).collect();
    let local_parts = texts.iter().filter_map(|text| text.split_once('@'));
    let local_parts: Vec<_> = local_parts.map(|(local, _)| local.to_owned()).collect();
    texts.into_iter().chain(local_parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_user() {
        let claims = serde_json::json!({"sub": "17", "email": "alice@example.com", "nickname": 7});
        let names = UserNames(names(claims.as_object().expect("an object")));
        for user in [
            "17",
            "alice@example.com",
            "Alice",
            "oauth2",
            "x-access-token",
        ] {
            assert!(names.answer_for(user), "{user}");
        }
        for user in ["bob", "1", "alice@example.org", "example.com"] {
            assert!(!names.answer_for(user), "{user}");
        }
    }
}
