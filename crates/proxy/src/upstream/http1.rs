//! An HTTP/1.1 connection, driven by whoever uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{ConnectError, Stream};
use crate::tee::Upload;
use crate::timer::Alarm;

pub(crate) struct Http1 {
    sender: SendRequest<Upload>,
    connection: Connection<TokioIo<Stream>, Upload>,
    closed: bool,
    alarm: Alarm,
    /// In sweeps of its pool.
    pub(crate) idle_since: u64,
}

/// Why an exchange failed.
pub(crate) enum SendError {
    /// Nothing of the request was sent, and it is back in its place.
    Unsent,
    Failed,
    TimedOut,
}

impl SendError {
    /// Why there was no answer, by whether the request came back.
    pub(super) fn of(place: Option<&Request<Upload>>) -> Self {
        if place.is_some() {
            Self::Unsent
        } else {
            Self::Failed
        }
    }
}

impl Http1 {
    pub(crate) async fn open(stream: Stream) -> Result<Box<Self>, ConnectError> {
        let (sender, connection) = Builder::new()
            .max_header_size(256 * 1024)
            .max_buf_size(512 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Box::new(Self {
            sender,
            connection,
            closed: false,
            alarm: Alarm::default(),
            idle_since: 0,
        }))
    }

    /// Sends the request that is in this place, and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        place: &mut Option<Request<Upload>>,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, SendError> {
        let request = place.take().ok_or(SendError::Failed)?;
        self.alarm.set_at(deadline);
        let mut answer = pin!(self.sender.try_send_request(request));
        let answer = poll_fn(|context| {
            if !self.closed && Pin::new(&mut self.connection).poll(context).is_ready() {
                self.closed = true;
            }
            // Only the connection, which was just driven, can complete it: no waker is needed.
            let nobody = &mut Context::from_waker(Waker::noop());
            match answer.as_mut().poll(nobody) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.alarm.poll(context).map(|()| None),
            }
        })
        .await;
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(mut error)) => {
                *place = error.take_message();
                Err(SendError::of(place.as_ref()))
            }
            None => Err(SendError::TimedOut),
        }
    }

    /// Reads and writes what can be.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.connection).poll(context).is_ready() {
            self.closed = true;
        }
    }

    /// Whether another request can be sent over it. Whoever drove it before is not woken for it any
    /// more.
    pub(crate) fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }
}
