//! A body that was read in part to judge it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The largest number of frames that are read to judge a body. An empty frame takes memory too.
const FRAMES_MAX: usize = 4096;

/// A body of which the client may have read the first frames to judge it.
///
/// A reader of this body gets every frame of the original body, in order.
pub struct PeekedBody<B: Body<Data = Bytes>> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> PeekedBody<B> {
    /// Reads the body, at most `limit` bytes. Returns the bytes of the whole body.
    ///
    /// Returns `None` if the body is longer than `limit` or cannot be read to its end.
    ///
    /// *Cancellation:* the frames that were read stay part of the body.
    pub(super) async fn peek(&mut self, limit: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() as u64 + self.rest.size_hint().lower() <= limit as u64
            && self.read.len() < FRAMES_MAX
        {
            let next = poll_fn(|context| Pin::new(&mut self.rest).poll_frame(context)).await;
            let Some(frame) = next else {
                return Some(bytes);
            };
            let data = frame.as_ref().map(Frame::data_ref);
            let failed = data.is_err();
            bytes.extend_from_slice(data.ok().flatten().map_or(&[], |data| data));
            self.read.push_back(frame);
            if failed {
                break;
            }
        }
        None
    }
}

impl<B: Body<Data = Bytes>> From<B> for PeekedBody<B> {
    fn from(rest: B) -> Self {
        Self {
            read: VecDeque::new(),
            rest,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Unpin for PeekedBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for PeekedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.read.iter().flatten().filter_map(Frame::data_ref);
        let read = data.map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

impl<B: Body<Data = Bytes>> std::fmt::Debug for PeekedBody<B> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PeekedBody")
            .field("frames", &self.read.len())
            .finish_non_exhaustive()
    }
}
