//! Kubernetes registry adapter.
