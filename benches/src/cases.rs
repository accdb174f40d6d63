//! The cases. Each case is a loop around one call.

use std::fmt::Debug;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::{HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::at_once;
use crate::inner::{HandWritten, Inner, StaticHeader};
use crate::requests::{Body, Shape};
use crate::ways::{
    MokaCache, RotatorWay, StdRwLock, Swap, TokioMutex, TokioOnceCell, TokioRwLock, Way,
};

/// A loop around one call.
pub struct Case {
    /// The name in the tables.
    pub name: &'static str,
    run: Box<dyn Fn(u64)>,
}

impl Case {
    fn new<T>(name: &'static str, call: impl Fn() -> T + 'static) -> Self {
        Self {
            name,
            run: Box::new(move |repetitions| {
                for _ in 0..repetitions {
                    black_box(call());
                }
            }),
        }
    }

    fn way<W: Way>() -> Self {
        let way = W::signed_in();
        Self::new(W::NAME, move || at_once(way.header()))
    }

    fn service<S>(name: &'static str, shape: Shape, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error: Debug> + Clone + 'static,
    {
        Self {
            name,
            run: Box::new(move |repetitions| {
                let mut service = service.clone();
                let mut context = Context::from_waker(Waker::noop());
                for _ in 0..repetitions {
                    assert!(service.poll_ready(&mut context).is_ready());
                    let answer = at_once(service.call(shape.request()));
                    black_box(answer.expect("an answer"));
                }
            }),
        }
    }

    /// Runs the loop.
    pub fn run(&self, repetitions: u64) {
        (self.run)(repetitions);
    }
}

/// The empty loop. Its cost is subtracted from the other cases.
pub fn nothing() -> Case {
    Case::new("nothing", || ())
}

/// The hot path: the baseline, `token()`, `token()` with a cloned header, then the other ways.
pub fn hot_path() -> Vec<Case> {
    let least = Swap::signed_in();
    let rotator = RotatorWay::signed_in();
    let token = Case::new("token-rotator: token()", move || {
        at_once(rotator.0.token()).is_ok()
    });
    let again = RotatorWay::signed_in();
    let with_header = Case::new("token-rotator: token(), header clone", move || {
        let token = at_once(again.0.token()).ok()?;
        Some(token.header().clone())
    });
    vec![
        Case::new(Swap::NAME, move || least.load()),
        token,
        with_header,
        Case::way::<StdRwLock>(),
        Case::way::<TokioRwLock>(),
        Case::way::<TokioMutex>(),
        Case::way::<TokioOnceCell>(),
        Case::way::<MokaCache>(),
    ]
}

/// The services with requests of this shape: the bare inner service, the rotation, then the
/// hand-written services.
pub fn services(shape: Shape) -> Vec<Case> {
    vec![
        Case::service("bare, static header", shape, bare()),
        Case::service("token-rotator's layer", shape, rotation()),
        hand_written::<TokioRwLock>("hand-written, tokio RwLock", shape),
        hand_written::<TokioMutex>("hand-written, tokio Mutex", shape),
        hand_written::<TokioOnceCell>("hand-written, OnceCell", shape),
        hand_written::<MokaCache>("hand-written, moka", shape),
    ]
}

fn hand_written<W: Way>(name: &'static str, shape: Shape) -> Case {
    Case::service(name, shape, by_hand::<W>())
}

/// The bare inner service with a static header.
pub fn bare() -> StaticHeader<Inner> {
    StaticHeader {
        inner: Inner,
        header: HeaderValue::from_static("Bearer static"),
    }
}

/// The inner service inside the rotation, signed in.
///
/// # Panics
///
/// Never: the rotator has an origin.
pub fn rotation()
-> impl Service<Request<Body>, Response = Response<Body>, Error: Debug, Future: Send> + Clone + Send
{
    let way = RotatorWay::signed_in();
    way.0.layer().expect("an origin").layer(Inner)
}

/// The inner service inside a hand-written middleware, signed in.
pub fn by_hand<W: Way>() -> HandWritten<Inner, W> {
    HandWritten {
        inner: Inner,
        way: Arc::clone(&W::signed_in()),
    }
}
