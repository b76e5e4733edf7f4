//! The aggregate controller: many registries merged into one snapshot.
