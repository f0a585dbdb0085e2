//! How a change is written: a checksum, a space, JSON, and the end of the line.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use registry_core::{Error, Record, Result};
use serde::{Deserialize, Serialize};

/// The version of the format, which the first line names.
const FORMAT: u32 = 1;

/// A change of the records.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The file begins. The changes before it went up to this version.
    Begin(u64),
    /// A record was written.
    Put(Record),
    /// The record under this key was removed, by the change of this version.
    Remove(String, u64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Line {
    /// The line with its end.
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        let empty = |version| Written {
            format: None,
            version,
            key: None,
            value: None,
            expires: None,
        };
        let written = match self {
            Self::Begin(version) => Written {
                format: Some(FORMAT),
                ..empty(*version)
            },
            Self::Put(record) => Written {
                key: Some(record.key.clone()),
                value: Some(STANDARD_NO_PAD.encode(&record.value)),
                expires: record
                    .expires_at
                    .map(|end| end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
                ..empty(record.version)
            },
            Self::Remove(key, version) => Written {
                key: Some(key.clone()),
                ..empty(*version)
            },
        };
        let json = serde_json::to_string(&written)
            .map_err(|source| Error::internal("a record could not be written", source))?;
        Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
    }

    /// Reads a line without its end. Nothing if it is damaged, or of a format that
    /// isn't known.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (checksum, json) = line.split_at_checked(8)?;
        let json = json.strip_prefix(b" ")?;
        let checksum = std::str::from_utf8(checksum).ok()?;
        if format!("{:08x}", crc32c::crc32c(json)) != checksum {
            return None;
        }
        let written: Written = serde_json::from_slice(json).ok()?;
        match (written.format, written.key, written.value) {
            (Some(FORMAT), None, None) => Some(Self::Begin(written.version)),
            (None, Some(key), None) => Some(Self::Remove(key, written.version)),
            (None, Some(key), Some(value)) => {
                let expires_at = match written.expires {
                    Some(seconds) => Some(UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?),
                    None => None,
                };
                Some(Self::Put(Record {
                    key,
                    version: written.version,
                    value: STANDARD_NO_PAD.decode(value).ok()?,
                    expires_at,
                }))
            }
            _ => None,
        }
    }
}
