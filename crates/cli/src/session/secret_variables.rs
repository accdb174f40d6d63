//! The environment variables that hold secrets of this program, or say where the secrets are.

use std::collections::BTreeSet;

use super::Context;
use super::source::SECRET_VARIABLE;
use crate::command_error::CommandError;
use crate::config::{KeyChoice, StoreUrl};

/// The variables that name the file of a secret.
const INDIRECT: [&str; 1] = ["TOKEN_ROTATOR_CLIENT_SECRET_FILE"];
const STORE: &str = "TOKEN_ROTATOR_STORE";
const KEY: &str = "TOKEN_ROTATOR_KEY";

impl Context {
    /// Returns the variables from which this program reads secrets, in any of its sessions.
    ///
    /// The variable of the store counts if it holds the address of a server, which may have a password.
    /// The variable of the key counts if it names the variable or the file of the key.
    pub(crate) fn secret_variables(&self) -> Result<BTreeSet<String>, CommandError> {
        let mut names: BTreeSet<String> = BTreeSet::from([SECRET_VARIABLE.to_owned()]);
        names.extend(INDIRECT.map(str::to_owned));
        for session in self.config.session_names()? {
            let settings = self.config.session(&session)?;
            names.extend(settings.and_then(|settings| settings.client_secret_env));
        }
        names.extend(self.config.proxy().local_bearer_env.clone());
        for key in [&self.key, &self.config.store().key].into_iter().flatten() {
            if let KeyChoice::Variable(name) = key {
                names.insert(name.clone());
            }
        }
        let inherited = |variable| std::env::var(variable).unwrap_or_default();
        match inherited(KEY).parse() {
            Ok(KeyChoice::Variable(name)) => names.extend([KEY.to_owned(), name]),
            Ok(KeyChoice::File(Some(_))) => names.extend([KEY.to_owned()]),
            _ => {}
        }
        // An address that cannot be read may hold a password too.
        if !matches!(inherited(STORE).parse(), Ok(StoreUrl::Directory(_))) {
            names.insert(STORE.to_owned());
        }
        Ok(names)
    }
}
