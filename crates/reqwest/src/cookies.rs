//! The cookies that requests and refreshes share, and the rule for cookies of late answers.
//!
//! A late answer to the last user's refresh must neither overwrite nor delete the next user's
//! cookie. So a flight records the cookies that it sent. A cookie of its answer is stored only if
//! the current cookie is still the one that was sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use reqwest::Request;
use url::Url;

use crate::jar::CookieStore;

/// The cookies of one client.
pub(crate) struct Cookies {
    store: Arc<dyn CookieStore>,
    /// Number of sign-ins and sign-outs. The lock is held while cookies change, so that comparing
    /// and storing are one step.
    epoch: Mutex<u64>,
}

impl Cookies {
    pub(crate) fn new(store: Arc<dyn CookieStore>) -> Self {
        Self {
            store,
            epoch: Mutex::default(),
        }
    }

    /// Begins an epoch at a sign-in or sign-out. Cookies of a running refresh are dropped.
    pub(crate) fn begin_epoch(&self) {
        *self.lock_epoch() += 1;
    }

    /// Adds the cookies to a request that is no refresh and has no `Cookie` header.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.store.cookies(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores the cookies of an answer to a request that is no refresh. `url` is the answer's URL.
    pub(crate) fn store(&self, answer: &HeaderMap, url: &Url) {
        let mut set = answer.get_all(SET_COOKIE).iter().peekable();
        if set.peek().is_some() {
            let _guard = self.lock_epoch();
            self.store.set_cookies(&mut set, url);
        }
    }

    /// Returns the cookies for a flight that begins now.
    pub(crate) fn for_flight(self: &Arc<Self>) -> FlightCookies {
        FlightCookies {
            epoch: *self.lock_epoch(),
            cookies: Arc::clone(self),
            sent: Mutex::default(),
        }
    }

    fn lock_epoch(&self) -> MutexGuard<'_, u64> {
        lock(&self.epoch)
    }
}

/// The cookies of one flight.
pub(crate) struct FlightCookies {
    cookies: Arc<Cookies>,
    /// Epoch in which the flight began.
    epoch: u64,
    /// The last `Cookie` header that was sent to each URL.
    sent: Mutex<Vec<(Url, Option<HeaderValue>)>>,
}

impl FlightCookies {
    /// Adds the cookies to a request of the flight that has no `Cookie` header.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.record_sent(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores the cookies of an answer to a request of the flight, as far as the flight may change
    /// them.
    pub(crate) fn store(&self, answer: &HeaderMap, url: &Url) {
        self.store_unchanged(&mut answer.get_all(SET_COOKIE).iter(), url);
    }

    /// Whether no sign-in or sign-out has happened since the flight began.
    pub(crate) fn is_current(&self) -> bool {
        *self.cookies.lock_epoch() == self.epoch
    }

    /// Returns the `Cookie` headers that the flight has sent.
    pub(crate) fn sent(&self) -> Vec<HeaderValue> {
        let sent = lock(&self.sent);
        sent.iter().filter_map(|(_, sent)| sent.clone()).collect()
    }

    /// Returns the cookies for `url` and records them as sent. Returns `None` after a sign-in or
    /// sign-out, so that the flight does not spend the next session's cookie.
    fn record_sent(&self, url: &Url) -> Option<HeaderValue> {
        let epoch = self.cookies.lock_epoch();
        if *epoch != self.epoch {
            return None;
        }
        let cookies = self.cookies.store.cookies(url);
        let mut sent = lock(&self.sent);
        sent.retain(|(to, _)| to != url);
        sent.push((url.clone(), cookies.clone()));
        cookies
    }

    /// Stores the cookies that have not changed since they were sent, unless the flight's epoch is
    /// over.
    fn store_unchanged(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let epoch = self.cookies.lock_epoch();
        if *epoch != self.epoch {
            return;
        }
        let sent = lock(&self.sent);
        let Some((_, sent)) = sent.iter().find(|(to, _)| to == url) else {
            return;
        };
        // Read before any cookie is set, because one answer may set a name for several paths.
        let now = self.cookies.store.cookies(url);
        let mut unchanged = headers.filter(|header| {
            let name = name(header);
            values(sent.as_ref(), name) == values(now.as_ref(), name)
        });
        self.cookies.store.set_cookies(&mut unchanged, url);
    }
}

/// Returns name and value of each cookie of a `Cookie` header (RFC 6265 section 4.2.1), or of a
/// `Set-Cookie` header.
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

/// Returns all values of the cookie with this name; each path may have one.
fn values<'a>(header: Option<&'a HeaderValue>, name: &[u8]) -> Vec<&'a [u8]> {
    let pairs = header.into_iter().flat_map(pairs);
    let named = pairs.filter(|(other, _)| *other == name);
    named.map(|(_, value)| value).collect()
}

/// Locks the mutex. A panic cannot leave its value half changed, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jar::Jar;

    struct CookieFixture {
        jar: Arc<Jar>,
        cookies: Arc<Cookies>,
        url: Url,
    }

    impl CookieFixture {
        fn new(first: &str) -> Self {
            let jar = Arc::new(Jar::default());
            let url: Url = "https://h/api/auth/refresh".parse().expect("a URL");
            jar.add_cookie_str(first, &url);
            let cookies = Arc::new(Cookies::new(Arc::clone(&jar) as Arc<dyn CookieStore>));
            Self { jar, cookies, url }
        }

        fn cookies_after_answer(&self, flight: &FlightCookies, headers: &[&'static str]) -> String {
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

    /// Property: a cookie of an answer is stored unless the current cookie has changed since it was
    /// sent.
    #[test]
    fn only_an_unchanged_cookie_is_replaced() {
        let fixture = CookieFixture::new("r=1; Path=/");
        let flight = fixture.cookies.for_flight();
        assert_eq!(flight.record_sent(&fixture.url).expect("a cookie"), "r=1");
        // At the same time the answer to a request changes another cookie.
        fixture
            .jar
            .add_cookie_str("theme=dark; Path=/", &fixture.url);
        let headers = ["r=2; Path=/", "theme=old; Path=/", "new=1; Path=/"];
        assert_eq!(
            fixture.cookies_after_answer(&flight, &headers),
            "new=1; r=2; theme=dark"
        );
        // The flight has set `new` itself and never sent it, so a second answer does not delete
        // `r`.
        let deleted = ["r=; Path=/; Max-Age=0"];
        assert_eq!(
            fixture.cookies_after_answer(&flight, &deleted),
            "new=1; r=2; theme=dark"
        );
        assert_eq!(
            flight.record_sent(&fixture.url).map(|sent| sent.len()),
            Some(22)
        );
        assert_eq!(
            fixture.cookies_after_answer(&flight, &deleted),
            "new=1; theme=dark"
        );
    }

    /// Property: one answer may set a name for several paths.
    #[test]
    fn one_answer_may_set_a_name_twice() {
        let fixture = CookieFixture::new("r=1; Path=/api");
        let flight = fixture.cookies.for_flight();
        flight.record_sent(&fixture.url);
        let moved = ["r=; Path=/api; Max-Age=0", "r=2; Path=/"];
        assert_eq!(fixture.cookies_after_answer(&flight, &moved), "r=2");
    }

    /// Property: after a sign-in or sign-out a flight sends and stores no cookies. An answer from a
    /// URL to which no cookies were sent stores none either.
    #[test]
    fn a_flight_of_an_old_epoch_changes_no_cookies() {
        let fixture = CookieFixture::new("r=1; Path=/");
        let flight = fixture.cookies.for_flight();
        assert_eq!(
            fixture.cookies_after_answer(&flight, &["r=2; Path=/"]),
            "r=1"
        );
        flight.record_sent(&fixture.url);
        assert!(flight.is_current());
        fixture.cookies.begin_epoch();
        assert!(!flight.is_current());
        assert_eq!(
            fixture.cookies_after_answer(&flight, &["r=2; Path=/"]),
            "r=1"
        );
        assert_eq!(flight.record_sent(&fixture.url), None);
    }
}
