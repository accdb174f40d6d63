//! Load: as many requests as possible (wrk), or a fixed rate.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::PACE;
use crate::world::{LOAD_CORE, on_core};

/// The figures of wrk.
pub(crate) struct Wrk {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Wrk {
    /// Runs wrk for `length` over this number of connections.
    ///
    /// *Errors:* wrk fails, or an answer is not 2xx.
    pub(crate) fn run(
        url: &str,
        connections: u32,
        length: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = on_core(LOAD_CORE, "wrk");
        command.args(["-t1", "--latency", url]);
        command.arg(format!("-c{connections}"));
        command.arg(format!("-d{}s", length.as_secs()));
        let output = command.output()?;
        let text = String::from_utf8(output.stdout)?;
        if text.contains("Non-2xx") || !output.status.success() {
            return Err(format!("wrk on {url}: {text}").into());
        }
        let after = |name: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(name));
            let value = line.and_then(|line| line.split_whitespace().nth(1));
            value.ok_or(format!("wrk printed no {name}: {text}"))
        };
        let requests = text.lines().find(|line| line.contains(" requests in "));
        let requests = requests.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            requests: requests
                .ok_or("wrk printed no number of requests")?
                .parse()?,
            rate: after("Requests/sec:")?.parse()?,
            p50: time(after("50%")?)?,
            p99: time(after("99%")?)?,
        })
    }
}

/// Reads a duration such as `1.50ms`, `900.00us` or `1.20s`.
fn time(text: &str) -> Result<Duration, Box<dyn Error>> {
    let (number, unit) = text.split_at(
        text.find(|c: char| c.is_ascii_alphabetic())
            .ok_or("no unit")?,
    );
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        other => return Err(format!("{other} is no unit of time").into()),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * unit))
}

/// The figures at a fixed rate.
pub(crate) struct Paced {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Paced {
    /// Runs the load in a process of its own, on the core of the load.
    pub(crate) fn run(url: &str) -> Result<Self, Box<dyn Error>> {
        let itself = std::env::current_exe()?;
        let output = on_core(LOAD_CORE, itself.to_str().ok_or("no path")?)
            .args(["pace", url])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("pace on {url}: {why}").into());
        }
        let told: serde_json::Value = serde_json::from_str(&text)?;
        let micros = |name: &str| told[name].as_u64().map(Duration::from_micros);
        Ok(Self {
            p50: micros("p50").ok_or("no p50")?,
            p99: micros("p99").ok_or("no p99")?,
        })
    }
}

/// Sends [`PACE`] requests a second for five seconds over 64 connections, each at its own time.
/// Latency counts from the time at which a request was due.
pub(crate) fn pace(url: &str) -> Result<(), Box<dyn Error>> {
    const CONNECTIONS: u32 = 64;
    const REQUESTS: u32 = PACE * 5 / CONNECTIONS;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut latencies = runtime.block_on(async {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let begin = Instant::now() + Duration::from_millis(100);
        let mut tasks = tokio::task::JoinSet::new();
        for connection in 0..CONNECTIONS {
            let host = host.to_owned();
            tasks.spawn(async move {
                let stream = TcpStream::connect(&host).await.ok()?;
                stream.set_nodelay(true).ok()?;
                let (mut sender, driver) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .ok()?;
                tokio::spawn(driver);
                let mut latencies = Vec::new();
                for round in 0..REQUESTS {
                    let number = round * CONNECTIONS + connection;
                    let due = begin + Duration::from_secs(1) * number / PACE;
                    tokio::time::sleep_until(due).await;
                    let request = Request::get("/")
                        .header("host", &host)
                        .body(Empty::<Bytes>::new());
                    let answer = sender.send_request(request.ok()?).await.ok()?;
                    if !answer.status().is_success() {
                        return None;
                    }
                    answer.into_body().collect().await.ok()?;
                    latencies.push(due.elapsed());
                }
                Some(latencies)
            });
        }
        let mut all = Vec::new();
        while let Some(task) = tasks.join_next().await {
            all.extend(task.ok().flatten()?);
        }
        Some(all)
    });
    let latencies = latencies
        .as_mut()
        .ok_or("a request was not answered with 2xx")?;
    latencies.sort_unstable();
    let at = |share: usize| latencies[latencies.len() * share / 100].as_micros();
    println!("{}", serde_json::json!({"p50": at(50), "p99": at(99)}));
    Ok(())
}
