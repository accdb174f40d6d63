//! The cookies that requests and refreshes share, and which cookies a refresh may change.
//!
//! A late answer to a refresh must not undo a later change: an answer for the previous user neither
//! overwrites nor deletes a cookie of the next user. So a flight remembers the cookies that it sent.
//! Its answer changes a cookie only if the store still has the value that the flight sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use reqwest::Request;
use url::Url;

use crate::jar::CookieStore;

/// The cookies of one client.
pub(crate) struct Cookies {
    store: Arc<dyn CookieStore>,
    /// The number of sign-ins and sign-outs. Locked while cookies change, so that comparing and storing
    /// are one step.
    epoch: Mutex<u64>,
}

impl Cookies {
    pub(crate) fn new(store: Arc<dyn CookieStore>) -> Self {
        Self {
            store,
            epoch: Mutex::default(),
        }
    }

    /// Begins the epoch of a sign-in or sign-out. A flight of an older epoch stores no cookies.
    pub(crate) fn begin_epoch(&self) {
        *self.lock_epoch() += 1;
    }

    /// Adds the cookies to an ordinary request, unless the caller set a `Cookie` header.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.store.cookies(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores the cookies of the answer to an ordinary request. `url`: the URL that answered.
    pub(crate) fn keep(&self, answer: &HeaderMap, url: &Url) {
        let mut set = answer.get_all(SET_COOKIE).iter().peekable();
        if set.peek().is_some() {
            let _epoch = self.lock_epoch();
            self.store.set_cookies(&mut set, url);
        }
    }

    /// Returns the cookies of a flight that begins now.
    pub(crate) fn for_flight(self: &Arc<Self>) -> FlightCookies {
        FlightCookies(Arc::new(Inner {
            epoch: *self.lock_epoch(),
            cookies: Arc::clone(self),
            sent: Mutex::default(),
        }))
    }

    fn lock_epoch(&self) -> MutexGuard<'_, u64> {
        lock(&self.epoch)
    }
}

/// The cookies of one flight. Clones share their state.
#[derive(Clone)]
pub(crate) struct FlightCookies(Arc<Inner>);

struct Inner {
    cookies: Arc<Cookies>,
    /// The epoch in which the flight began.
    epoch: u64,
    /// The last `Cookie` header sent to each URL, `None` if the request had no cookies.
    sent: Mutex<Vec<(Url, Option<HeaderValue>)>>,
}

impl FlightCookies {
    /// Adds the cookies to a request of the flight, unless the caller set a `Cookie` header.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.cookies_to_send(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores the cookies of the answer to a request of the flight that the flight may change.
    pub(crate) fn keep(&self, answer: &HeaderMap, url: &Url) {
        self.store_unchanged(&mut answer.get_all(SET_COOKIE).iter(), url);
    }

    /// Returns whether no sign-in and no sign-out has happened since the flight began.
    pub(crate) fn is_current(&self) -> bool {
        *self.0.cookies.lock_epoch() == self.0.epoch
    }

    /// Returns the `Cookie` headers that the flight has sent so far.
    pub(crate) fn sent_headers(&self) -> Vec<HeaderValue> {
        let sent = lock(&self.0.sent);
        sent.iter()
            .filter_map(|(_, header)| header.clone())
            .collect()
    }

    /// Returns the cookies for `url` and remembers them. Returns `None` after a sign-in or sign-out, because
    /// the store then has the cookies of another epoch.
    fn cookies_to_send(&self, url: &Url) -> Option<HeaderValue> {
        let epoch = self.0.cookies.lock_epoch();
        if *epoch != self.0.epoch {
            return None;
        }
        let cookies = self.0.cookies.store.cookies(url);
        let mut sent = lock(&self.0.sent);
        sent.retain(|(to, _)| to != url);
        sent.push((url.clone(), cookies.clone()));
        cookies
    }

    /// Stores each cookie whose value in the store is still the value that the flight sent to `url`. Stores
    /// nothing after a sign-in or sign-out.
    fn store_unchanged(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let epoch = self.0.cookies.lock_epoch();
        if *epoch != self.0.epoch {
            return;
        }
        let sent = lock(&self.0.sent);
        let Some((_, sent)) = sent.iter().find(|(to, _)| to == url) else {
            return;
        };
        // All cookies are compared with this state, because one answer may set a name for several paths.
        let stored = self.0.cookies.store.cookies(url);
        let mut unchanged = headers.filter(|header| {
            let name = name(header);
            values(sent.as_ref(), name) == values(stored.as_ref(), name)
        });
        self.0.cookies.store.set_cookies(&mut unchanged, url);
    }
}

/// Returns name and value of each cookie of a `Cookie` header (RFC 6265 section 4.2.1). The first pair of a
/// `Set-Cookie` header is its cookie.
pub(crate) fn pairs(header: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = header.as_bytes().split(|&byte| byte == b';');
    pairs.map(|pair| {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        (name.trim_ascii(), value.trim_ascii())
    })
}

/// Returns the name of the cookie that a `Set-Cookie` header sets.
fn name(header: &HeaderValue) -> &[u8] {
    pairs(header).next().map_or(&[], |(name, _)| name)
}

/// Returns all values of this name. A header may have a cookie of this name for each path.
fn values<'a>(header: Option<&'a HeaderValue>, name: &[u8]) -> Vec<&'a [u8]> {
    let pairs = header.into_iter().flat_map(pairs);
    let named = pairs.filter(|(other, _)| *other == name);
    named.map(|(_, value)| value).collect()
}

/// Ignores poisoning: each change under these locks is one call, so a panic leaves no partial change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jar::Jar;

    struct Fixture {
        jar: Arc<Jar>,
        cookies: Arc<Cookies>,
        url: Url,
    }

    impl Fixture {
        fn new(first: &str) -> Self {
            let jar = Arc::new(Jar::default());
            let url: Url = "https://h/api/auth/refresh".parse().expect("a URL");
            jar.add_cookie_str(first, &url);
            let cookies = Arc::new(Cookies::new(Arc::clone(&jar) as Arc<dyn CookieStore>));
            Self { jar, cookies, url }
        }

        /// Handles an answer to a request of the flight. Returns the cookies of the jar in sorted order.
        fn handle_answer(&self, flight: &FlightCookies, headers: &[&'static str]) -> String {
            let headers: Vec<_> = headers
                .iter()
                .map(|text| HeaderValue::from_static(text))
                .collect();
            flight.store_unchanged(&mut headers.iter(), &self.url);
            let cookies = self.jar.cookies(&self.url);
            let text = cookies
                .as_ref()
                .map_or("", |cookies| cookies.to_str().expect("text"));
            let mut sorted: Vec<_> = text.split("; ").collect();
            sorted.sort_unstable();
            sorted.join("; ")
        }
    }

    /// Property: each cookie of an answer is stored, unless the cookie in the jar has changed since the
    /// flight sent it.
    #[test]
    fn only_an_unchanged_cookie_is_replaced() {
        let fixture = Fixture::new("r=1; Path=/");
        let flight = fixture.cookies.for_flight();
        assert_eq!(
            flight.cookies_to_send(&fixture.url).expect("a cookie"),
            "r=1"
        );
        // An ordinary answer changes another cookie during the flight.
        fixture
            .jar
            .add_cookie_str("theme=dark; Path=/", &fixture.url);
        let headers = ["r=2; Path=/", "theme=old; Path=/", "new=1; Path=/"];
        assert_eq!(
            fixture.handle_answer(&flight, &headers),
            "new=1; r=2; theme=dark"
        );
        // The flight has not sent the value `r=2` that its first answer stored, so `r` stays.
        let deleted = ["r=; Path=/; Max-Age=0"];
        assert_eq!(
            fixture.handle_answer(&flight, &deleted),
            "new=1; r=2; theme=dark"
        );
        assert_eq!(
            flight.cookies_to_send(&fixture.url).map(|sent| sent.len()),
            Some(22)
        );
        assert_eq!(
            fixture.handle_answer(&flight, &deleted),
            "new=1; theme=dark"
        );
    }

    /// Property: one answer may set a name for several paths.
    #[test]
    fn an_answer_may_set_one_name_for_two_paths() {
        let fixture = Fixture::new("r=1; Path=/api");
        let flight = fixture.cookies.for_flight();
        flight.cookies_to_send(&fixture.url);
        let moved = ["r=; Path=/api; Max-Age=0", "r=2; Path=/"];
        assert_eq!(fixture.handle_answer(&flight, &moved), "r=2");
    }

    /// Property: after a sign-in or sign-out, a flight of the older epoch gets no cookies and stores no cookies.
    /// An answer of a URL to which the flight sent no request stores no cookies.
    #[test]
    fn a_flight_of_an_older_epoch_changes_nothing() {
        let fixture = Fixture::new("r=1; Path=/");
        let flight = fixture.cookies.for_flight();
        assert_eq!(fixture.handle_answer(&flight, &["r=2; Path=/"]), "r=1");
        flight.cookies_to_send(&fixture.url);
        assert!(flight.is_current());
        fixture.cookies.begin_epoch();
        assert!(!flight.is_current());
        assert_eq!(fixture.handle_answer(&flight, &["r=2; Path=/"]), "r=1");
        assert_eq!(flight.cookies_to_send(&fixture.url), None);
    }
}
