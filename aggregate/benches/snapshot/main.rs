//! What one registry event costs until the pointer is swapped, also under each
//! merge policy and while last good states are written, and what an endpoint
//! costs in memory and on disk, at growing sizes of the mesh. Prints Markdown.
//!
//! `cargo bench -p mainstem-aggregate --bench snapshot`, or with `-- events`,
//! `policies`, `last-good` or `memory` one of its tables.
#![allow(clippy::unwrap_used)]

mod events;
mod last_good;
mod memory;
mod policies;
mod world;

// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One table: its name, title and header, and what makes its rows at a size, by
/// services of ten endpoints each.
struct Table {
    name: &'static str,
    title: &'static str,
    header: &'static str,
    measure: fn(usize),
    sizes: &'static [usize],
}

const TABLES: [Table; 4] = [
    Table {
        name: "events",
        title: "One registry event to swapped snapshot, 4 registries, 10 endpoints a service",
        header: events::HEADER,
        measure: events::measure,
        sizes: &[1_000, 10_000, 100_000],
    },
    Table {
        name: "policies",
        title: "One change of a service that 4 registries share, to swapped snapshot",
        header: policies::HEADER,
        measure: policies::measure,
        sizes: &[10_000, 100_000],
    },
    Table {
        name: "last-good",
        title: "Keeping last good states of 4 registries",
        header: last_good::HEADER,
        measure: last_good::measure,
        sizes: &[10_000, 100_000],
    },
    Table {
        name: "memory",
        title: "Resident memory by endpoint, 4 registries, 10 endpoints a service",
        header: memory::HEADER,
        measure: memory::measure,
        sizes: &[1_000, 10_000, 100_000],
    },
];

fn main() {
    // Each size in a process of its own, so that none sees another's leftovers.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let named = args.first();
    let tables = TABLES.iter().filter(|table| named.is_none_or(|name| name == table.name));
    for table in tables {
        match args.get(1) {
            Some(services) => (table.measure)(services.parse().unwrap()),
            None => table.report(),
        }
    }
}

impl Table {
    fn report(&self) {
        println!("\n{}:\n\n{}", self.title, self.header);
        for services in self.sizes {
            self.again(*services);
        }
    }

    fn again(&self, services: usize) {
        let program = std::env::current_exe().unwrap();
        let args = [self.name.to_owned(), services.to_string()];
        let status = std::process::Command::new(program).args(args).status().unwrap();
        assert!(status.success(), "{} at {services} services: {status}", self.name);
    }
}
