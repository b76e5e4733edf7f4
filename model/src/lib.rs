//! The values of Mainstem: services, workloads, endpoints and the snapshot.
