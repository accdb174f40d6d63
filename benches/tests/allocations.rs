//! The bars of allocations, as a test.

use token_rotator_benches::allocations;
use token_rotator_benches::cases;
use token_rotator_benches::requests::Shape;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// One test for all cases, because dhat counts the whole process.
#[test]
fn the_hot_path_allocates_nothing_and_the_layer_next_to_nothing() {
    for case in &cases::hot_path()[allocations::ROTATOR_CASES] {
        let count = allocations::per_call(case);
        assert!(count <= 0.0, "{}: {count} allocations a call", case.name);
    }
    for shape in Shape::ALL {
        let services = cases::services(shape);
        let bare = allocations::per_call(&services[0]);
        let layer = allocations::per_call(&services[1]);
        let shape = shape.name();
        assert!(
            bare > 0.0,
            "{shape}: a header map allocates, or nothing was counted"
        );
        let extra = layer - bare;
        assert!(
            extra <= allocations::LAYER_EXTRA,
            "{shape}: {extra} allocations a request over the bare service"
        );
    }
}
