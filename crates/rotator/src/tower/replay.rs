//! Which bodies can be sent twice.

/// Says whether a body can be sent twice, by making the copy that the replay would send.
///
/// A closure `Fn(&B) -> Option<B>` is one.
pub trait CopyBody<B> {
    /// The copy; `None`: this body can be sent only once. Called before the body is sent.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Every body is cloned: for bodies in memory, whose clones are cheap. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B: Clone> CopyBody<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// No body is sent twice: for streams. Requests near expiry wait for the refresh first.
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
