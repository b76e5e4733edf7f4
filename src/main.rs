//! The program `mainstem`; see the library of the same name.

use std::process::ExitCode;

use clap::Parser;
use mainstem::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One provider of cryptography for the whole process, chosen here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nobody chose one before");
    }
    cli.run()
}
