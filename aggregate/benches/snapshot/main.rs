//! What one registry event costs until the pointer is swapped, and what an
//! endpoint costs in memory, at growing sizes of the mesh. Prints Markdown.
//!
//! `cargo bench -p mainstem-aggregate --bench snapshot`
#![allow(clippy::unwrap_used)]

mod events;
mod memory;
mod world;

// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Each size in a process of its own, so that none sees another's leftovers.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    match (args.next().as_deref(), args.next()) {
        (Some("events"), Some(services)) => events::measure(services.parse().unwrap()),
        (Some("memory"), Some(services)) => memory::measure(services.parse().unwrap()),
        _ => report(),
    }
}

fn report() {
    println!("One registry event to swapped snapshot, 4 registries, 10 endpoints a service:\n");
    println!("{}", events::HEADER);
    for services in ["1000", "10000", "100000"] {
        again("events", services);
    }
    println!("\nResident memory by endpoint, 4 registries, 10 endpoints a service:\n");
    println!("{}", memory::HEADER);
    for services in ["1000", "10000", "100000"] {
        again("memory", services);
    }
}

fn again(what: &str, services: &str) {
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new(program).args([what, services]).status().unwrap();
    assert!(status.success(), "{what} at {services} services: {status}");
}
