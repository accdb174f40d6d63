//! The table and its migrations.

use sha2::{Digest as _, Sha256};

/// `PostgreSQL` truncates names after 63 bytes; the rest is for the suffix `_migrations`.
const NAME_MAX: usize = 48;

/// The migration steps. A step is never changed, and running a step again has no effect.
const STEPS: [&str; 1] = ["\
CREATE TABLE IF NOT EXISTS {table} (
    session text COLLATE \"C\" PRIMARY KEY,
    epoch bytea CHECK (octet_length(epoch) = 16),
    revision bigint CHECK (revision >= 0),
    body bytea,
    lease_owner text,
    lease_expires_at timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    changed_at timestamptz,
    CHECK ((epoch IS NULL) = (revision IS NULL) AND (epoch IS NULL) = (body IS NULL))
);"];

/// The checked name of the table.
#[derive(Clone)]
pub(crate) struct SessionTable {
    name: String,
    /// The name as an SQL identifier.
    pub(crate) quoted: String,
    /// The table that records the applied steps, as an SQL identifier.
    pub(crate) migrations: String,
}

impl SessionTable {
    /// Returns `None` if `name` is not a valid name or is too long.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        let is_identifier = |part: &&str| {
            let mut letters = part.chars();
            let first = letters.next();
            first.is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
                && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if parts.len() > 2 || !parts.iter().all(is_identifier) || name.len() > NAME_MAX {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            quoted: quoted(name),
            migrations: quoted(&format!("{name}_migrations")),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the channel of the store's notifications.
    pub(crate) fn channel(&self) -> &str {
        &self.name
    }

    /// Returns the number of the advisory lock under which processes migrate this table one after the other.
    pub(crate) fn lock(&self) -> i64 {
        let hash = Sha256::new()
            .chain_update(b"token-rotator migration\0")
            .chain_update(&self.name)
            .finalize();
        let mut number = [0; 8];
        number.copy_from_slice(&hash[..8]);
        i64::from_be_bytes(number)
    }

    pub(crate) fn create_migrations(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\n    version integer PRIMARY KEY,\n    \
             applied_at timestamptz NOT NULL DEFAULT now()\n);",
            self.migrations
        )
    }

    /// Returns the steps after the first `applied` steps. Each step records its number.
    pub(crate) fn steps(&self, applied: usize) -> impl Iterator<Item = String> {
        let steps = STEPS.iter().enumerate().skip(applied);
        steps.map(|(index, step)| {
            let version = index + 1;
            let record_version = format!(
                "INSERT INTO {} (version) VALUES ({version}) ON CONFLICT DO NOTHING;",
                self.migrations
            );
            let step = step.replace("{table}", &self.quoted);
            format!("{step}\n{record_version}")
        })
    }

    /// Returns all steps as one SQL script.
    pub(crate) fn script(&self) -> String {
        let steps: Vec<String> = self.steps(0).collect();
        format!(
            "BEGIN;\nSELECT pg_advisory_xact_lock({});\n{}\n{}\nCOMMIT;\n",
            self.lock(),
            self.create_migrations(),
            steps.join("\n")
        )
    }
}

/// The newest version of the table that this crate supports.
pub(crate) const LATEST_VERSION: usize = STEPS.len();

fn quoted(name: &str) -> String {
    let parts: Vec<String> = name.split('.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_or_refused() {
        for (name, quoted) in [
            ("sessions", "\"sessions\""),
            ("auth.sessions", "\"auth\".\"sessions\""),
            ("_S1", "\"_S1\""),
        ] {
            assert_eq!(SessionTable::new(name).expect(name).quoted, quoted);
        }
        let long = "x".repeat(NAME_MAX + 1);
        for name in ["", ".", "a.", "1a", "a b", "a\"b", "a;b", "a.b.c", &long] {
            assert!(SessionTable::new(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_script_creates_the_table() {
        let script = SessionTable::new("auth.sessions").expect("a name").script();
        assert!(script.contains("CREATE TABLE IF NOT EXISTS \"auth\".\"sessions\" ("));
        assert!(!script.contains('{'), "{script}");
    }
}
