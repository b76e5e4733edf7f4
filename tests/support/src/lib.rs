//! Real servers and clients for tests: start, wait, show the log, stop.
