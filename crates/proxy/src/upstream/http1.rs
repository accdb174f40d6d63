//! An HTTP/1.1 connection, driven by the request that uses it.

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
use crate::timer::DeadlineTimer;

pub(crate) struct Http1 {
    sender: SendRequest<Upload>,
    connection: Connection<TokioIo<Stream>, Upload>,
    closed: bool,
    timer: DeadlineTimer,
    /// Time of the last use, in sweeps of the connection's pool.
    pub(crate) idle_since: u64,
}

/// Why an upstream gave no answer.
pub(crate) enum SendError {
    /// No byte of the request was sent, and the caller has the request back.
    Unsent,
    Failed,
    TimedOut,
    /// The proxy of the network refused the credentials for it.
    ProxyCredentials,
}

impl SendError {
    /// Returns the error for a request that hyper returned unsent, or did not return.
    pub(super) fn of(returned: Option<&Request<Upload>>) -> Self {
        if returned.is_some() {
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
            timer: DeadlineTimer::default(),
            idle_since: 0,
        }))
    }

    /// Takes and sends the request, and waits for the head of its answer. An unsent request is put
    /// back.
    ///
    /// *Waits* until `deadline` at most.
    pub(crate) async fn send(
        &mut self,
        slot: &mut Option<Request<Upload>>,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, SendError> {
        let request = slot.take().ok_or(SendError::Failed)?;
        self.timer.set_at(deadline);
        let mut answer = pin!(self.sender.try_send_request(request));
        let answer = poll_fn(|context| {
            self.drive(context);
            // Only the connection, which was just driven, can complete the answer: no waker is
            // needed.
            let no_waker = &mut Context::from_waker(Waker::noop());
            match answer.as_mut().poll(no_waker) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.timer.poll(context).map(|()| None),
            }
        })
        .await;
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(mut error)) => {
                *slot = error.take_message();
                Err(SendError::of(slot.as_ref()))
            }
            None => Err(SendError::TimedOut),
        }
    }

    /// Reads and writes without blocking.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.connection).poll(context).is_ready() {
            self.closed = true;
        }
    }

    /// Whether the connection can send another request. The task that drove the connection before
    /// is not woken for it afterwards.
    pub(crate) fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }
}
