//! The pages that the browser shows.

use http::{HeaderValue, Response, StatusCode, header};

/// The content security policy: the pages load, send and frame nothing.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page for the browser, without secrets.
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

    /// The sign-in failed with this error, which the terminal shows too.
    pub(super) fn failed(why: &str) -> Self {
        let text = format!("{why}. Your terminal shows what to do.");
        Self::new(StatusCode::BAD_REQUEST, "Not signed in", text)
    }

    /// The redirect belongs to another sign-in.
    pub(super) fn foreign() -> Self {
        let text = "This redirect belongs to another sign-in and was ignored. \
                    Go back to the newest tab, or sign in again.";
        Self::new(StatusCode::BAD_REQUEST, "Not this sign-in", text)
    }

    /// The sign-in has ended before this redirect.
    pub(super) fn already_over() -> Self {
        let text = "This sign-in is over. Your terminal shows how it ended.";
        Self::new(StatusCode::GONE, "Over", text)
    }

    /// The path is not the redirect address.
    pub(super) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Nothing here", "")
    }

    /// The method is not GET.
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
            // The address of this page contains the authorization code.
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

/// Escapes text for HTML. It may contain text from the issuer.
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
