//! The cookies that requests and refreshes share, and which of them a refresh may change.
//!
//! A refresh that answers late must not undo what happened meanwhile: the answer to the last user's
//! refresh neither overwrites nor deletes the cookie of the next one. So a flight is *lent* its
//! cookies, and what its answer sets is compared and swapped, cookie by cookie.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use reqwest::Request;
use url::Url;

use crate::jar::CookieStore;

/// The cookies of one client.
pub(crate) struct Cookies {
    store: Arc<dyn CookieStore>,
    /// How many sign-ins and sign-outs there were. Held while cookies change, so that nothing comes
    /// between comparing and swapping.
    epoch: Mutex<u64>,
}

impl Cookies {
    pub(crate) fn new(store: Arc<dyn CookieStore>) -> Self {
        Self {
            store,
            epoch: Mutex::default(),
        }
    }

    /// Somebody signed in or out: what a refresh in the air brings comes too late.
    pub(crate) fn begin_epoch(&self) {
        *self.turn() += 1;
    }

    /// Adds the cookies to an ordinary request that has none of its own.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.store.cookies(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores what the answer to an ordinary request sets. `url` is where the answer came from.
    pub(crate) fn keep(&self, answer: &HeaderMap, url: &Url) {
        let mut set = answer.get_all(SET_COOKIE).iter().peekable();
        if set.peek().is_some() {
            let _turn = self.turn();
            self.store.set_cookies(&mut set, url);
        }
    }

    /// What a flight that begins now may use and change.
    pub(crate) fn loan(self: &Arc<Self>) -> Loan {
        Loan(Arc::new(Terms {
            epoch: *self.turn(),
            cookies: Arc::clone(self),
            lent: Mutex::default(),
        }))
    }

    fn turn(&self) -> MutexGuard<'_, u64> {
        lock(&self.epoch)
    }
}

/// What one flight has been lent. Clones are the same loan.
#[derive(Clone)]
pub(crate) struct Loan(Arc<Terms>);

struct Terms {
    cookies: Arc<Cookies>,
    /// In which the flight began.
    epoch: u64,
    /// What last went to which URL.
    lent: Mutex<Vec<(Url, Option<HeaderValue>)>>,
}

impl Loan {
    /// Adds the cookies to a request of the flight that has none of its own.
    pub(crate) fn add_to(&self, request: &mut Request) {
        if request.headers().contains_key(COOKIE) {
            return;
        }
        if let Some(cookies) = self.lend(request.url()) {
            request.headers_mut().insert(COOKIE, cookies);
        }
    }

    /// Stores what the answer to a request of the flight sets, as far as the flight may change it.
    pub(crate) fn keep(&self, answer: &HeaderMap, url: &Url) {
        self.take_back(&mut answer.get_all(SET_COOKIE).iter(), url);
    }

    /// Whether nobody has signed in or out since the flight began.
    pub(crate) fn is_current(&self) -> bool {
        *self.0.cookies.turn() == self.0.epoch
    }

    /// The `Cookie` headers that went out so far.
    pub(crate) fn lent(&self) -> Vec<HeaderValue> {
        let lent = lock(&self.0.lent);
        lent.iter().filter_map(|(_, lent)| lent.clone()).collect()
    }

    /// Nothing once the flight is another user's: it must not spend what is not its own.
    fn lend(&self, url: &Url) -> Option<HeaderValue> {
        let epoch = self.0.cookies.turn();
        if *epoch != self.0.epoch {
            return None;
        }
        let cookies = self.0.cookies.store.cookies(url);
        let mut lent = lock(&self.0.lent);
        lent.retain(|(to, _)| to != url);
        lent.push((url.clone(), cookies.clone()));
        cookies
    }

    /// Stores those cookies that still are what was lent, if the flight's epoch is not over.
    fn take_back(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let epoch = self.0.cookies.turn();
        if *epoch != self.0.epoch {
            return;
        }
        let lent = lock(&self.0.lent);
        let Some((_, lent)) = lent.iter().find(|(to, _)| to == url) else {
            return;
        };
        // Compared before any is set: one answer may set the same name for several paths.
        let now = self.0.cookies.store.cookies(url);
        let mut unchanged = headers.filter(|header| {
            let name = name(header);
            values(lent.as_ref(), name) == values(now.as_ref(), name)
        });
        self.0.cookies.store.set_cookies(&mut unchanged, url);
    }
}

/// The value of each cookie of a `Cookie` header (RFC 6265 section 4.2.1), or of a `Set-Cookie`.
pub(crate) fn pairs(header: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = header.as_bytes().split(|&byte| byte == b';');
    pairs.map(|pair| {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        (name.trim_ascii(), value.trim_ascii())
    })
}

/// The name that a `Set-Cookie` header sets.
fn name(header: &HeaderValue) -> &[u8] {
    pairs(header).next().map_or(&[], |(name, _)| name)
}

/// All values of this name, for there may be one for each path.
fn values<'a>(header: Option<&'a HeaderValue>, name: &[u8]) -> Vec<&'a [u8]> {
    let pairs = header.into_iter().flat_map(pairs);
    let named = pairs.filter(|(other, _)| *other == name);
    named.map(|(_, value)| value).collect()
}

/// What these locks guard is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jar::Jar;

    struct Kept {
        jar: Arc<Jar>,
        cookies: Arc<Cookies>,
        url: Url,
    }

    impl Kept {
        fn new(first: &str) -> Self {
            let jar = Arc::new(Jar::default());
            let url: Url = "https://h/api/auth/refresh".parse().expect("a URL");
            jar.add_cookie_str(first, &url);
            let cookies = Arc::new(Cookies::new(Arc::clone(&jar) as Arc<dyn CookieStore>));
            Self { jar, cookies, url }
        }

        fn answered(&self, loan: &Loan, headers: &[&'static str]) -> String {
            let headers: Vec<_> = headers
                .iter()
                .map(|text| HeaderValue::from_static(text))
                .collect();
            loan.take_back(&mut headers.iter(), &self.url);
            let cookies = self.jar.cookies(&self.url);
            let text = cookies
                .as_ref()
                .map_or("", |cookies| cookies.to_str().expect("text"));
            let mut sorted: Vec<_> = text.split("; ").collect();
            sorted.sort_unstable();
            sorted.join("; ")
        }
    }

    /// Property: what an answer sets is stored, cookie by cookie, unless that cookie has changed
    /// since it was sent.
    #[test]
    fn only_what_was_lent_is_swapped() {
        let kept = Kept::new("r=1; Path=/");
        let loan = kept.cookies.loan();
        assert_eq!(loan.lend(&kept.url).expect("a cookie"), "r=1");
        // Meanwhile an ordinary answer rotates another one.
        kept.jar.add_cookie_str("theme=dark; Path=/", &kept.url);
        let headers = ["r=2; Path=/", "theme=old; Path=/", "new=1; Path=/"];
        assert_eq!(kept.answered(&loan, &headers), "new=1; r=2; theme=dark");
        // The same loan again: what it has set itself it was not lent.
        let deleted = ["r=; Path=/; Max-Age=0"];
        assert_eq!(kept.answered(&loan, &deleted), "new=1; r=2; theme=dark");
        assert_eq!(loan.lend(&kept.url).map(|sent| sent.len()), Some(22));
        assert_eq!(kept.answered(&loan, &deleted), "new=1; theme=dark");
    }

    /// Property: one answer may set a name for several paths.
    #[test]
    fn one_name_may_be_set_twice() {
        let kept = Kept::new("r=1; Path=/api");
        let loan = kept.cookies.loan();
        loan.lend(&kept.url);
        let moved = ["r=; Path=/api; Max-Age=0", "r=2; Path=/"];
        assert_eq!(kept.answered(&loan, &moved), "r=2");
    }

    /// Property: past a sign-in or sign-out nothing is lent and nothing stored, and a URL that
    /// nothing was lent to stores nothing either.
    #[test]
    fn an_epoch_that_is_over_changes_nothing() {
        let kept = Kept::new("r=1; Path=/");
        let loan = kept.cookies.loan();
        assert_eq!(kept.answered(&loan, &["r=2; Path=/"]), "r=1");
        loan.lend(&kept.url);
        assert!(loan.is_current());
        kept.cookies.begin_epoch();
        assert!(!loan.is_current());
        assert_eq!(kept.answered(&loan, &["r=2; Path=/"]), "r=1");
        assert_eq!(loan.lend(&kept.url), None);
    }
}
