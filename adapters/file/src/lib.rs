//! File registry adapter.
