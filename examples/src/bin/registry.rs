//! The ready-made registry server.

fn main() {}
