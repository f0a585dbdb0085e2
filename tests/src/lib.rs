//! Conformance, real clients, crash and security tests, and benchmarks.
