//! How fast the server tells many proxies of a change, beside the floor: a bare
//! tonic server that fans out encoded bytes and knows no protocol.
//!
//! ```text
//!  driver ─┬─ control   core 0   aggregate + scopes + xDS server, as `mainstem serve` wires them
//!          ├─ floor     core 0   the same bytes, no protocol
//!          └─ sidecars  core 1   N proxies of either, a TCP connection each
//! ```
//!
//! Each is a process of its own and takes orders as JSON, one per line. Rounds
//! against the control plane and the floor alternate, so that whatever else the
//! machine does meets both. Times are taken where both ends are known: a change
//! from its registry's word to the last ACK in the server that sends it, a start
//! in the process that starts.
//!
//! `make bench-xds`, or `cargo bench --bench xds -- --quick` for some seconds.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

mod child;
mod control;
mod driver;
mod floor;
mod observer;
mod process;
mod report;
mod sidecars;
mod world;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "The xDS server beside its floor")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: Run,
    /// Given by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What is measured.
#[derive(Clone, Debug, Args)]
struct Run {
    /// Some seconds, to see that it works; its figures mean little
    #[arg(long)]
    quick: bool,
    /// Only these parts (start, change, storm, memory, scale)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these numbers of proxies
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<usize>,
    /// Only this protocol (delta, sotw)
    #[arg(long)]
    protocol: Option<String>,
    /// Only these kinds of proxies (identical, diverse)
    #[arg(long)]
    kind: Option<String>,
    /// Print JSON instead of a table
    #[arg(short, long)]
    output: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The control plane
    #[command(hide = true)]
    Control(world::World),
    /// The floor
    #[command(hide = true)]
    Floor,
    /// The proxies
    #[command(hide = true)]
    Sidecars,
}

fn main() {
    let cli = Cli::parse();
    match cli.role {
        None => driver::run(&cli.run),
        Some(Role::Control(world)) => control::run(&world),
        Some(Role::Floor) => floor::run(),
        Some(Role::Sidecars) => sidecars::run(),
    }
}
