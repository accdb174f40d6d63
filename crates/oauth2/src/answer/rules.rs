//! How the answers of one issuer differ from the standard.

use token_rotator::Profile;

use crate::builder::BuildError;

/// How the answers of one issuer differ from RFC 6749. The default reads standard answers, and what
/// many issuers send instead.
#[derive(Clone, Debug, Default)]
pub struct AnswerRules {
    pub(super) profile: Profile,
    pub(super) is_dynamic_client: bool,
    pub(super) assumes_bearer: bool,
    /// Standard names and the paths of their values.
    fields: Vec<(&'static str, String)>,
    /// The first field that has no standard name, or a path that cannot be followed.
    wrong_field: Option<String>,
}

impl AnswerRules {
    /// The fields of an answer that can have another name, by their standard names.
    pub const FIELDS: [&str; 7] = [
        "access_token",
        "token_type",
        "refresh_token",
        "refresh_token_expires_in",
        "id_token",
        "scope",
        "expires_in",
    ];

    /// Returns whether [`field`](Self::field) can read this field from this path.
    pub fn reads(name: &str, path: &str) -> bool {
        Self::FIELDS.contains(&name) && path.split('.').all(|part| !part.is_empty())
    }

    /// Rules without a difference.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this issuer's own error codes, such as `token_inactive` of Ory Hydra.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The client was registered dynamically (RFC 7591). Its refresh tokens are bound to that
    /// registration, so `invalid_client` ends the session.
    pub fn dynamic_client(mut self) -> Self {
        self.is_dynamic_client = true;
        self
    }

    /// Takes every token for a Bearer token, whatever its `token_type`.
    pub fn assume_bearer(mut self) -> Self {
        self.assumes_bearer = true;
        self
    }

    /// Reads a field from another place: `path` has the names of objects and of the field,
    /// separated by dots, such as `authed_user.access_token`.
    ///
    /// [`FIELDS`](Self::FIELDS) has the names.
    pub fn field(mut self, name: &str, path: impl Into<String>) -> Self {
        let path = path.into();
        let known = Self::FIELDS.into_iter().find(|known| *known == name);
        match known.filter(|_| Self::reads(name, &path)) {
            Some(known) => {
                self.fields.retain(|(other, _)| *other != known);
                self.fields.push((known, path));
            }
            None => {
                self.wrong_field.get_or_insert_with(|| name.to_owned());
            }
        }
        self
    }

    /// *Errors*: a field cannot be read where the rules say. No request was sent with it.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        match &self.wrong_field {
            Some(name) => Err(BuildError::Field { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Returns the path that replaces this field's standard name.
    pub(super) fn path(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(field, _)| *field == name)
            .map(|(_, path)| &**path)
    }
}
