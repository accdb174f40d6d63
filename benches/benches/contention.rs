//! Time of the hot path and of the layer on one thread and on two.

use std::fmt::Debug;
use std::hint::black_box;
use std::sync::Arc;

use http::{Request, Response};
use token_rotator_benches::cases;
use token_rotator_benches::program;
use token_rotator_benches::requests::{Body, Shape};
use token_rotator_benches::table::Table;
use token_rotator_benches::threads::{self, Candidate};
use token_rotator_benches::ways::{
    MokaCache, RotatorWay, StdRwLock, Swap, TokioMutex, TokioOnceCell, TokioRwLock, Way,
};
use tower_service::Service;

/// The calls of a round of about a millisecond.
const ROUNDS: usize = 301;
const CALLS: u64 = 10_000;
const REQUESTS: u64 = 1_000;

fn main() {
    if !program::is_asked_to_measure() {
        return;
    }
    let mut ways = [
        way::<Swap>(),
        way::<RotatorWay>(),
        way::<StdRwLock>(),
        way::<TokioRwLock>(),
        way::<TokioMutex>(),
        way::<TokioOnceCell>(),
        way::<MokaCache>(),
    ];
    threads::rounds(&mut ways, ROUNDS);
    println!("### Time of one call with the header cloned, the token good\n");
    print("way", &ways);

    let shape = Shape::Typical;
    let mut services = [
        service("bare, static header", shape, cases::bare()),
        service("token-rotator's layer", shape, cases::rotation()),
        service(
            "hand-written, tokio RwLock",
            shape,
            cases::by_hand::<TokioRwLock>(),
        ),
        service(
            "hand-written, tokio Mutex",
            shape,
            cases::by_hand::<TokioMutex>(),
        ),
        service(
            "hand-written, OnceCell",
            shape,
            cases::by_hand::<TokioOnceCell>(),
        ),
        service("hand-written, moka", shape, cases::by_hand::<MokaCache>()),
    ];
    threads::rounds(&mut services, ROUNDS);
    println!(
        "### Time of one request through a service: {}\n",
        shape.name()
    );
    print("service", &services);
}

fn print(what: &str, candidates: &[Candidate]) {
    let least = candidates[0].medians();
    let mut table = Table::new([
        what,
        "ns, 1 thread",
        "ns, 2 threads",
        "ratio, 1",
        "ratio, 2",
    ]);
    for candidate in candidates {
        let (one, two) = candidate.medians();
        table.row([
            candidate.name.to_owned(),
            format!("{one:.0}"),
            format!("{two:.0}"),
            format!("{:.2}", one / least.0),
            format!("{:.2}", two / least.1),
        ]);
    }
    println!("{table}");
}

fn way<W: Way>() -> Candidate {
    let way = W::signed_in();
    Candidate::new(W::NAME, CALLS, move |repetitions| {
        let way = Arc::clone(&way);
        async move {
            for _ in 0..repetitions {
                black_box(way.header().await.expect("a token"));
            }
        }
    })
}

fn service<S>(name: &'static str, shape: Shape, service: S) -> Candidate
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Debug, Future: Send>
        + Clone
        + Send
        + 'static,
{
    Candidate::new(name, REQUESTS, move |requests| {
        let mut service = service.clone();
        async move {
            for _ in 0..requests {
                let answer = service.call(shape.request()).await;
                black_box(answer.expect("an answer"));
            }
        }
    })
}
