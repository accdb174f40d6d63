//! Every example runs and prints the expected lines. Each example shows a section of the README.

macro_rules! examples {
    ($($name:ident: $path:literal, $lines:expr;)*) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let lines = runtime.expect("a runtime").block_on(async {
                let limit = std::time::Duration::from_secs(30);
                tokio::time::timeout(limit, self::$name::run()).await
            });
            assert_eq!(lines.expect("it ends").expect("it succeeds"), $lines);
        }
    )*};
}

examples! {
    quick_start: "../quick_start.rs", [
        "first request: token 1 of \"alice\"",
        "after expiry: token 2 of \"alice\"",
        "refreshes: 1",
    ];
    typed_response: "../typed_response.rs", [
        "answer: 200 OK",
        "socket token renewed: true",
    ];
    custom_header: "../custom_header.rs", [
        "here, after expiry: [\"2\"]",
        "elsewhere: null",
    ];
    custom_endpoint: "../custom_endpoint.rs", [
        "with a cookie: 200 OK",
        "with a form: 200 OK",
        "refreshes: 2",
    ];
    existing_client: "../existing_client.rs", [
        "after expiry: token 2",
        "my header: [\"XMLHttpRequest\"]",
    ];
    sockets_after_refresh: "../sockets_after_refresh.rs", [
        "answered: 20 of 20",
        "refreshes: 1",
        "sockets told: true",
    ];
    init_and_clear_session: "../init_and_clear_session.rs", [
        "signed in: 200 OK",
        "signed out: 401 Unauthorized",
        "token left: false",
        "refreshes: 0",
    ];
}
