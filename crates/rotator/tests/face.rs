//! The root of the crate stays small enough to read at once.

/// Property: the root has at most 45 public items. What store, middleware and key-vault authors
/// need belongs in `store`, `middleware` and `keys`.
#[test]
fn the_root_has_few_items() {
    let items = public_items(include_str!("../src/lib.rs"));
    assert!(items.contains(&"Rotator"), "{items:?}");
    assert!(items.len() <= 45, "{} items: {items:?}", items.len());
}

#[test]
fn items_are_counted() {
    let face = "mod a;\npub mod b;\npub use c::{D, E as F,\n    G};\nuse x::Y;\npub use h::I;\n";
    assert_eq!(public_items(face), ["b", "D", "E as F", "G", "h::I"]);
}

/// The modules and re-exports of a root that defines nothing itself.
fn public_items(face: &str) -> Vec<&str> {
    let mut items = Vec::new();
    for statement in face.split("pub ").skip(1) {
        let (statement, _) = statement.split_once(';').expect("a statement");
        let statement = statement.trim_end_matches([' ', '\n', '}']);
        let (_, names) = statement.split_once(['{', ' ']).expect("a keyword");
        let names = names.split_once('{').map_or(names, |(_, names)| names);
        items.extend(
            names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty()),
        );
    }
    assert!(items.iter().all(|item| !item.contains('*')), "{items:?}");
    items
}
