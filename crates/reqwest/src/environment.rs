//! The proxies of the environment, for the reqwest clients that this crate builds.
//!
//! reqwest would send requests for this machine to a proxy of the environment, and with them a refresh
//! token in clear text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::ClientBuilder;
use token_rotator::middleware::proxies::Proxies;
use url::Url;

use crate::transport::client_builder;

/// Returns a builder that `configure` has changed. Its client uses the proxies of the environment as
/// curl does, but never for this machine. A proxy that `configure` adds replaces them, and `no_proxy()`
/// removes them.
pub(crate) fn builder(configure: impl FnOnce(ClientBuilder) -> ClientBuilder) -> ClientBuilder {
    with_proxies(Proxies::from_env(), configure)
}

fn with_proxies(
    proxies: Proxies,
    configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> ClientBuilder {
    let builder = client_builder();
    if proxies.is_empty() {
        // With the feature `system-proxy`, reqwest reads the settings of the system.
        return configure(builder);
    }
    let is_replaced = Arc::new(AtomicBool::new(false));
    let replaced = Arc::clone(&is_replaced);
    let environment = reqwest::Proxy::custom(move |url| {
        if replaced.load(Ordering::Relaxed) {
            return None;
        }
        proxy_url(&proxies, url)
    });
    let builder = configure(builder.proxy(environment));
    // reqwest has no method that lists the proxies. In `Debug`, a proxy with a function is `_`, and ours
    // is the first. `tests::a_proxy_of_the_user_replaces_the_environment` fails if that changes.
    let has_further = format!("{builder:?}").contains("proxies: [_, ");
    is_replaced.store(has_further, Ordering::Relaxed);
    builder
}

/// Returns the URL of the proxy for a request. A variable that names no proxy is ignored, as reqwest
/// does.
fn proxy_url(proxies: &Proxies, url: &Url) -> Option<Url> {
    let https = url.scheme() == "https";
    let port = url.port_or_known_default().unwrap_or_default();
    let proxy = proxies.proxy_for(https, url.host_str()?, port);
    proxy.ok()??.url_with_credentials().parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each request with its own name.
    async fn server(name: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    head.push(byte);
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}",
                    name.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    async fn get(
        proxies: &[(&str, &str)],
        url: &str,
        configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> String {
        let proxies = Proxies::from_variables(|name| {
            let found = proxies.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let client = with_proxies(proxies, configure).build().expect("a client");
        let answer = client.get(url).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    #[tokio::test]
    async fn this_machine_is_reached_without_a_proxy() {
        let (proxy, own) = (server("proxy").await, server("own").await);
        let variables = [("HTTP_PROXY", proxy.as_str()), ("ALL_PROXY", &proxy)];
        let (_, port) = own.rsplit_once(':').expect("a port");
        for host in ["127.0.0.1", "localhost", "127.0.0.1."] {
            let url = format!("http://{host}:{port}/");
            assert_eq!(
                get(&variables, &url, |builder| builder).await,
                "own",
                "{url}"
            );
        }
        let foreign = "http://api.example.test/";
        assert_eq!(get(&variables, foreign, |builder| builder).await, "proxy");
    }

    #[tokio::test]
    async fn a_proxy_of_the_user_replaces_the_environment() {
        let (proxy, users) = (server("proxy").await, server("user's").await);
        let own = server("own").await;
        let variables = [("HTTP_PROXY", proxy.as_str())];
        let of_user = || reqwest::Proxy::all(format!("http://{users}")).expect("a proxy");
        let foreign = "http://api.example.test/";
        assert_eq!(
            get(&variables, foreign, |builder| builder.proxy(of_user())).await,
            "user's"
        );
        let custom = || {
            let url: Url = format!("http://{users}").parse().expect("a URL");
            reqwest::Proxy::custom(move |_| Some(url.clone()))
        };
        assert_eq!(
            get(&variables, foreign, |builder| builder.proxy(custom())).await,
            "user's"
        );
        let only = |builder: ClientBuilder| builder.no_proxy().proxy(of_user());
        assert_eq!(get(&variables, foreign, only).await, "user's");
        let direct = get(
            &variables,
            &format!("http://{own}/"),
            ClientBuilder::no_proxy,
        )
        .await;
        assert_eq!(direct, "own");
    }
}
