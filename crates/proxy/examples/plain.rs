//! A proxy in a program of one's own: `plain LISTEN UPSTREAM TOKEN`, until Ctrl-C.

use std::time::Duration;

use token_rotator::{Rotator, SourceError, TokenSet};
use token_rotator_proxy::{Config, Handle, Listen, Listener, Route};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = |what: &str| {
        words.next().ok_or(format!(
            "usage: plain LISTEN UPSTREAM TOKEN; {what} is missing"
        ))
    };
    let (listen, upstream, token) = (word("LISTEN")?, word("UPSTREAM")?, word("TOKEN")?);
    // Where a program has nothing to refresh with, a refused token stays refused.
    let source =
        |_| async { Err::<TokenSet, _>(SourceError::misconfigured("this token is all there is")) };
    let rotator = Rotator::builder(source).origin(&upstream).build()?;
    rotator.sign_in(TokenSet::bearer(token))?.await?;
    let listener = Listener {
        listen: Listen::Tcp(listen.parse()?),
        public: false,
    };
    let route = Route::new("api", upstream, rotator);
    let mut config = Config::new(vec![listener], vec![route]);
    config.workers = 1;
    let proxy = Handle::start(&config)?;
    println!("{:?}", proxy.listening());
    tokio::signal::ctrl_c().await?;
    proxy.drain(Duration::from_secs(10)).await;
    Ok(())
}
