//! Messages for a route whose refusal rules cannot be read.

use insta::assert_snapshot;

use crate::user::User;

/// Runs `proxy` with this line in its only route. Returns its stderr.
async fn output_with(line: &str) -> String {
    let user = User::signed_in().await;
    user.configure(&format!(
        "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n{line}\n"
    ));
    let output = user.run(&["proxy"]);
    assert_eq!(output.code, 1, "{output:?}");
    output.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_no_status() {
    assert_snapshot!(output_with("also_status_codes = [40]").await, @r"
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].also_status_codes[0]`: 40 is not a status; write one from 100 to 999
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_at_another_host() {
    assert_snapshot!(output_with("probe = \"https://evil.example.com/\"").await, @r"
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].probe`: the probe of a body rule is not a path of the upstream; write it like /-/whoami: a single `/` first, no `//`, `..`, `\`, `#`, blank or host
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_rule_without_a_condition() {
    assert_snapshot!(output_with("refused_when_body = {}").await, @r#"
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].refused_when_body`: write either `contains = "text"` or `json = { field = value }`
    hint: correct the line; docs/program.md has all keys
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_none() {
    let line = "refused_when_body = { contains = \"[]\", methods = [\"P OST\"] }";
    assert_snapshot!(output_with(line).await, @r"
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].refused_when_body`: `P OST` is not a method
    hint: correct the line; docs/program.md has all keys
    ");
}
