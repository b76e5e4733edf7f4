//! File registry adapter: services, endpoints and workloads from YAML and JSON.
//!
//! ```text
//! events ─▶ watch ─▶ directory ─▶ yaml ─▶ parse ─▶ convert     what stands in the files,
//!  (when)     │     (which files)  (text) (objects) (values)    object by object
//!             ▼
//!          holdings ─▶ UpdateSender                             last good forms, differences
//! ```
//!
//! Watches one file or a directory tree, by the system's events and by looking
//! again every few seconds. There is nothing to resume: each look compares all
//! files with those last read and reads only what changed.
//!
//! Invariants:
//! - A file or directory that cannot be read removes nothing; the last good
//!   state stays, marked failed, until it can be read again. A file that is
//!   deleted takes its objects with it.
//! - An object that is malformed keeps its last good form and harms no other. A
//!   document that cannot be parsed keeps all objects that its file held and
//!   that are not found elsewhere in it.
//! - A file that is being written is read when it is closed.
//! - The same files give the same values, whatever the order of changes.

mod api;
mod check;
mod config;
mod convert;
mod directory;
mod events;
mod holdings;
mod parse;
mod watch;
mod yaml;

use std::future::Future;
use std::pin::Pin;

use mainstem_registry::{Adapter, UpdateSender};

pub use api::schema;
pub use check::{Report, check, check_registry};
pub use config::FileConfig;
pub use directory::LookError;

/// The provider's name: registries are `file/CLUSTER`.
pub const PROVIDER: &str = "file";

/// Follows the files of one registry.
#[derive(Clone, Debug)]
pub struct FileAdapter {
    config: FileConfig,
}

impl FileAdapter {
    /// An adapter for these files.
    pub fn new(config: FileConfig) -> Self {
        Self { config }
    }
}

impl Adapter for FileAdapter {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(watch::follow(self.config, updates))
    }
}
