//! The metrics and the proxy's own answers are those that docs/program.md lists.

use std::collections::BTreeSet;

use token_rotator_testkit::{Fault, Upstream};

use crate::sidecar::{Sidecar, client};
use crate::user::User;

const PROGRAM: &str = include_str!("../../../../docs/program.md");
const LIBRARY: &str = include_str!("../../../proxy/src/lib.rs");

#[tokio::test(flavor = "multi_thread")]
async fn served_metrics_are_the_documented_ones() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let flags = ["--upstream", upstream.url(), "--admin", "127.0.0.1:0"];
    let proxy = Sidecar::start_with(&user, &flags);
    let admin = proxy.admin.clone().expect("an admin listener");
    // Some metrics appear only after their first count.
    user.issuer.expire_access_tokens();
    for (path, status) in [("/echo", 200), ("/a/..;/echo", 400)] {
        let answer = client().get(format!("{}{path}", proxy.url)).send().await;
        assert_eq!(answer.expect("an answer").status(), status, "{path}");
    }
    let busy = Fault::Status {
        status: 503,
        retry_after: Some("120".to_owned()),
    };
    user.issuer.faults().push(busy.always());
    assert_eq!(user.run(&["token", "--refresh"]).code, 4);
    user.issuer.expire_access_tokens();
    let answer = client().get(format!("{}/echo", proxy.url)).send().await;
    assert_eq!(answer.expect("an answer").status(), 401);
    let metrics = client().get(format!("{admin}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let served: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| {
            let (name, kind) = line.split_once(' ')?;
            let total = if kind == "counter" { "_total" } else { "" };
            Some(format!("{name}{total}"))
        })
        .collect();
    let documented: BTreeSet<String> = PROGRAM
        .split('`')
        .filter(|word| word.starts_with("token_rotator_proxy_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(served, documented);
    assert!(served.len() > 5, "{served:?}");
}

/// The unit tests of the program check the keys and defaults of these files, because this page is not packed with it.
#[test]
fn the_configuration_of_the_page_is_the_one_that_is_checked() {
    let proxy = include_str!("../../src/proxy/plan/proxy.toml");
    let sessions = include_str!("../../src/proxy/plan/sessions.toml");
    assert_eq!(toml_under("\n## The proxy\n"), proxy);
    assert_eq!(toml_under("\n## Configuration\n"), sessions);
}

/// The TOML blocks under this heading.
fn toml_under(heading: &str) -> String {
    let (_, section) = PROGRAM.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().expect("a section");
    let blocks = section.split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("```").next().expect("its end"))
        .collect();
    assert!(!blocks.is_empty(), "there is TOML under {heading}");
    blocks.concat()
}

#[test]
fn both_tables_of_problems_are_equal() {
    let in_docs = problems(PROGRAM, "### The proxy's own answers");
    let in_crate = problems(&LIBRARY.replace("//! ", ""), "# The proxy's own answers");
    assert!(in_docs.len() > 10, "{in_docs:?}");
    assert_eq!(in_docs, in_crate);
}

/// Returns name, HTTP status and gRPC status of each problem.
fn problems(text: &str, heading: &str) -> BTreeSet<[String; 3]> {
    let (_, section) = text.split_once(heading).expect("the section");
    section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let cell = |number: usize| cells.get(number).copied().unwrap_or_default().to_owned();
            cell(1)
                .starts_with('`')
                .then(|| [cell(1), cell(2), cell(3)])
        })
        .collect()
}
