//! Stores, engine and stateful layers of an embeddable OCI registry.
