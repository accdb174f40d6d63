//! The target for the upstream: the path of the caller without the prefix, the query of the caller,
//! and no part that names another path or another server.
#![no_main]
#![allow(dead_code)]

mod door;

use libfuzzer_sys::fuzz_target;

use door::{Input, Knock, PREFIX, has_dots};

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (prefixed, rest) = input;
    let target = if prefixed {
        [b"/v1", rest.as_slice()].concat()
    } else {
        rest
    };
    let head: Input = (7, target, vec![(0, Vec::new(), b"localhost".to_vec())]);
    let Some(knock) = Knock::of(&head) else {
        return;
    };
    let Ok(admitted) = knock.door().admit(&knock.request, knock.unix) else {
        return;
    };
    let Some(outgoing) = admitted.outgoing else {
        return;
    };
    let (came, goes) = (knock.request.uri(), outgoing.uri());
    assert!(
        goes.scheme().is_none() && goes.authority().is_none(),
        "{goes}"
    );
    assert_eq!(goes.query(), came.query());
    let path = goes.path();
    assert!(path.starts_with('/'), "{path}");
    assert!(!has_dots(path), "{path}");
    if admitted.route == "prefix" {
        let whole = [PREFIX, path].concat();
        assert!(
            came.path() == whole || (path == "/" && came.path() == PREFIX),
            "{came} became {goes}"
        );
    } else {
        assert_eq!(came.path(), path);
    }
});
