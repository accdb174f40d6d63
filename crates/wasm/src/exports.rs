//! The functions of the module. Each instance has one machine: a session is an instance.

// An export by name, and the one machine behind it: the module has one thread and no caller of its own.
#![allow(unsafe_code, clippy::too_many_arguments)]

use core::panic::PanicInfo;

use crate::{Machine, flight};

static mut MACHINE: Machine = Machine::BLANK;

/// No event panics; without a handler nothing links.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

fn machine() -> &'static mut Machine {
    // SAFETY: there is one thread, and no export calls another or keeps the borrow.
    unsafe { &mut *(&raw mut MACHINE) }
}

#[unsafe(no_mangle)]
extern "C" fn begin(required: u32) {
    machine().begin(required);
}

#[unsafe(no_mangle)]
extern "C" fn set(field: u32, value: f64) {
    machine().set(field, value);
}

#[unsafe(no_mangle)]
extern "C" fn acquire(wall: f64, steady: f64) -> u32 {
    machine().acquire(wall, steady) as u32
}

#[unsafe(no_mangle)]
extern "C" fn refused(
    epoch: f64,
    generation: f64,
    endpoint: u32,
    replay: u32,
    wall: f64,
    steady: f64,
) -> u32 {
    machine().refused(epoch, generation, endpoint, replay, (wall, steady)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn accepted(epoch: f64, generation: f64, endpoint: u32, replay: u32) {
    machine().accepted(epoch, generation, endpoint, replay);
}

#[unsafe(no_mangle)]
extern "C" fn settle(
    id: f64,
    epoch: f64,
    generation: f64,
    purpose: u32,
    wall: f64,
    steady: f64,
) -> u32 {
    machine().settle(flight(id, epoch, generation, purpose), wall, steady) as u32
}

#[unsafe(no_mangle)]
extern "C" fn force(wall: f64, steady: f64) -> u32 {
    machine().force(wall, steady) as u32
}

#[unsafe(no_mangle)]
extern "C" fn landed(
    id: f64,
    epoch: f64,
    generation: f64,
    purpose: u32,
    adopted: u32,
    received: f64,
    lifetime: f64,
    jitter: u32,
    wall: f64,
    steady: f64,
) -> u32 {
    let machine = machine();
    let validity = machine.validity(received, lifetime, jitter);
    let flight = flight(id, epoch, generation, purpose);
    machine.landed(flight, adopted, validity, wall, steady)
}

#[unsafe(no_mangle)]
extern "C" fn failed(
    id: f64,
    epoch: f64,
    generation: f64,
    purpose: u32,
    ending: u32,
    retry_after: f64,
    jitter: u32,
    wall: f64,
    steady: f64,
) -> u32 {
    let flight = flight(id, epoch, generation, purpose);
    machine().failed(flight, ending, retry_after, jitter, (wall, steady))
}

#[unsafe(no_mangle)]
extern "C" fn yielded(
    id: f64,
    epoch: f64,
    generation: f64,
    purpose: u32,
    wall: f64,
    steady: f64,
) -> u32 {
    machine().yielded(flight(id, epoch, generation, purpose), wall, steady)
}

#[unsafe(no_mangle)]
extern "C" fn overdue(wall: f64, steady: f64) -> u32 {
    machine().overdue(wall, steady)
}

#[unsafe(no_mangle)]
extern "C" fn install(
    sign_in: u32,
    received: f64,
    lifetime: f64,
    jitter: u32,
    wall: f64,
    steady: f64,
) {
    let machine = machine();
    let validity = machine.validity(received, lifetime, jitter);
    machine.install(sign_in, validity, wall, steady);
}

#[unsafe(no_mangle)]
extern "C" fn sign_out() -> u32 {
    machine().sign_out()
}

#[unsafe(no_mangle)]
extern "C" fn current(wall: f64, steady: f64) -> f64 {
    machine().current(wall, steady)
}

#[unsafe(no_mangle)]
extern "C" fn epoch() -> f64 {
    machine().epoch()
}

#[unsafe(no_mangle)]
extern "C" fn generation() -> f64 {
    machine().generation()
}

#[unsafe(no_mangle)]
extern "C" fn flight_id() -> f64 {
    machine().flight()
}

#[unsafe(no_mangle)]
extern "C" fn purpose() -> u32 {
    machine().purpose()
}

#[unsafe(no_mangle)]
extern "C" fn error() -> f64 {
    machine().error()
}

#[unsafe(no_mangle)]
extern "C" fn cool_until() -> f64 {
    machine().cool_until()
}
