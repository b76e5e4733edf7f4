//! The xDS protocol: state machines without sockets, and the gRPC services around them.
