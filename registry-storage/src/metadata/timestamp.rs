//! Points in time as stores keep them: nanoseconds since 1970.
//!
//! What lies before 1970 is kept as 1970, what lies behind 2554 as the last
//! moment that fits. Every store rounds alike, so that they can be compared.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn to_nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn from_nanoseconds(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_nanos(nanoseconds))
        .unwrap_or(UNIX_EPOCH)
}

/// The earliest moment that there is.
pub(super) fn beginning() -> SystemTime {
    UNIX_EPOCH
}

pub(super) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(to_nanoseconds(*at))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    u64::deserialize(deserializer).map(from_nanoseconds)
}
