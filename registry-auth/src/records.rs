//! Where keys, accounts and revocations are kept.

#[cfg(feature = "records")]
mod file;
#[cfg(feature = "records")]
mod line;
mod memory;
mod table;

#[cfg(feature = "records")]
pub use self::file::FileRecords;
pub use self::memory::MemoryRecords;
