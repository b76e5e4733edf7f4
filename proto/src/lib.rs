//! Protobuf messages and services of Envoy's API, generated with a deterministic encoding.
