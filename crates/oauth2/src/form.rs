//! The body of a request: `application/x-www-form-urlencoded` (RFC 6749 appendix B).

use crate::transport::SecretBytes;

/// Parameters in the order they were added. It has no `Debug`, for tokens are among them.
#[derive(Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn param(&mut self, name: &str, value: &str) {
        let body = std::mem::take(&mut self.0);
        let mut body = form_urlencoded::Serializer::new(body);
        self.0 = body.append_pair(name, value).finish();
    }

    pub(crate) fn into_body(self) -> SecretBytes {
        self.0.into()
    }
}
