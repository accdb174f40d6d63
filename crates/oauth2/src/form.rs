//! The body of a request: `application/x-www-form-urlencoded` (RFC 6749 appendix B).

use crate::transport::SecretBytes;

/// Parameters in the order of insertion. The type has no `Debug`, because the parameters include
/// tokens.
#[derive(Default)]
pub(crate) struct FormBody(String);

impl FormBody {
    pub(crate) fn param(&mut self, name: &str, value: &str) {
        let body = std::mem::take(&mut self.0);
        let mut body = form_urlencoded::Serializer::new(body);
        self.0 = body.append_pair(name, value).finish();
    }

    pub(crate) fn into_body(self) -> SecretBytes {
        self.0.into()
    }
}
