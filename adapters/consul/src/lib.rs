//! Consul registry adapter.
