//! The traits and types that decide which bodies can be sent twice.

/// Copies the body of a request for its replay, if the body can be sent twice.
///
/// Closures `Fn(&B) -> Option<B>` implement this trait.
pub trait CopyBody<B> {
    /// Copies the body, before the request is sent. Returns `None` if the body can be sent only
    /// once.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Clones every body. The default, for bodies in memory, whose clones are cheap.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B: Clone> CopyBody<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Sends every body once, for streams. If a refresh is due, the request waits for it first.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOnce;

impl<B> CopyBody<B> for SendOnce {
    fn copy(&self, _body: &B) -> Option<B> {
        None
    }
}

impl<B, F: Fn(&B) -> Option<B>> CopyBody<B> for F {
    fn copy(&self, body: &B) -> Option<B> {
        self(body)
    }
}
