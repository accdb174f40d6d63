//! A record's body as a statement's parameter.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Its `Debug` shows only the length, because tokio-postgres logs the parameters of some statements.
pub(crate) struct BodyParameter<'a>(pub(crate) &'a [u8]);

impl std::fmt::Debug for BodyParameter<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "BodyParameter({} bytes)", self.0.len())
    }
}

impl ToSql for BodyParameter<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <&[u8] as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_shows_its_length() {
        assert_eq!(
            format!("{:?}", BodyParameter(b"secret")),
            "BodyParameter(6 bytes)"
        );
    }
}
