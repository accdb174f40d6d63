//! What the browser shows at the end.

use http::{HeaderValue, Response, StatusCode, header};

/// Nothing may be loaded, sent or framed: these pages need none of it.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page without anything secret in it.
#[derive(Debug)]
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
}

impl Page {
    pub(super) fn signed_in() -> Self {
        let text = "You can close this window and go back to your terminal.";
        Self::new(StatusCode::OK, "Signed in", text)
    }

    /// What went wrong, as the terminal says it.
    pub(super) fn failed(why: &str) -> Self {
        let text = format!("{why}. Your terminal says what to do.");
        Self::new(StatusCode::BAD_REQUEST, "Not signed in", text)
    }

    /// The redirect of another sign-in.
    pub(super) fn foreign() -> Self {
        let text = "This belongs to another sign-in than the one that is under way, and was ignored. \
                    Go back to the newest tab, or sign in again.";
        Self::new(StatusCode::BAD_REQUEST, "Not this sign-in", text)
    }

    /// The redirect after the one that counted.
    pub(super) fn over() -> Self {
        let text = "This sign-in is over. Your terminal says how it ended.";
        Self::new(StatusCode::GONE, "Over", text)
    }

    /// Another address.
    pub(super) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Nothing here", "")
    }

    /// Another method than GET.
    pub(super) fn only_get() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Only GET", "")
    }

    fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
        }
    }

    pub(super) fn into_response(self) -> Response<String> {
        let (title, text) = (self.title, escaped(&self.text));
        let mut response = Response::new(format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        ));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            // The code stands in this page's address.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// The issuer's words may be among them.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
