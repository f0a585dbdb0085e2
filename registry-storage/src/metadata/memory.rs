//! Metadata in memory.
