//! The commands that have to do with sessions, as a user meets them.

/// A command that fails with this exit code, in words that a snapshot has.
macro_rules! mistake {
    ($name:ident, $code:expr, |$user:ident| $came:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let $user = crate::user::User::new().await;
            let came: crate::user::Came = $came;
            assert_eq!(came.code, $code, "{came:?}");
            insta::assert_snapshot!(stringify!($name), came.told());
        }
    };
}

mod attended;
mod browser;
mod certified;
mod crowds;
mod denied;
mod device;
mod diagnosed;
mod exec;
mod formats;
mod keys;
mod looking;
mod metadata;
mod mistakes;
mod shared;
mod signing_in;
mod stored;
mod typed;
mod user;
