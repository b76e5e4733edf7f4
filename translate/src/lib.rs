//! Scopes, and pure functions from snapshot and scope to Envoy resources.
