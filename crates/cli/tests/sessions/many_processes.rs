//! Many processes at once.

use std::process::Stdio;

use crate::user::User;

/// A hundred processes with an expired session send one refresh and get the same valid token.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_processes_refresh_once() {
    let user = User::expired().await;
    let before = user.issuer.counters().refreshes;
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let mut command = user.command(&["token"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("it runs")
        })
        .collect();
    let mut tokens: Vec<_> = crowd
        .into_iter()
        .map(|child| {
            let output = user.capture(child.wait_with_output().expect("its output"));
            assert_eq!(output.code, 0, "{output:?}");
            output.stdout
        })
        .collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "they are all the same");
    assert!(user.issuer.accepts(tokens[0].trim()));
    let counters = user.issuer.counters();
    assert_eq!((counters.refreshes - before, counters.reuses), (1, 0));
}
