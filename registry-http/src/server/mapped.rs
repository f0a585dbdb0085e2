//! Sending a file to a receiver on this machine.
//!
//! Over the loopback every byte is copied once, by the receiver if it is sent
//! by `sendfile`. `send` from a mapping of the file copies twice, but large
//! pages at a time and on two processors, from cache to cache: a single
//! download is about a third faster. It pays only where a processor is free,
//! and not at all over a network card, which copies nothing itself.
//!
//! This is the only unsafe module. What makes it sound: nothing here reads the
//! mapped bytes or makes a reference to them; their address is only handed to
//! the system, which answers `EFAULT` where a page can't be had any more. So
//! neither a changing file nor one that lost its end can do harm.
#![allow(
    unsafe_code,
    reason = "mappings of files have no safe interface, as files may change"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

/// What one mapping covers, from a multiple of this on: the size of a large
/// page.
const WINDOW: u64 = 2 << 20;

/// Rounds down to where a window begins.
const WHOLE_WINDOWS: u64 = !(WINDOW - 1);

/// Below this, mapping costs more than it gains.
const LEAST: u64 = 128 << 10;

/// Sends the beginning of a part of a file, as much as the socket takes; `None`
/// if it had better be sent in another way.
///
/// # Errors
///
/// Those of the socket, and `UnexpectedEof` where the file is shorter.
pub(super) fn send(
    socket: impl AsFd,
    file: &File,
    range: &Range<u64>,
) -> io::Result<Option<usize>> {
    let base = range.start & WHOLE_WINDOWS;
    let end = range.end.min(base.saturating_add(WINDOW));
    if end.saturating_sub(range.start) < LEAST {
        return Ok(None);
    }
    // Zeros would be sent for the rest of the last page.
    if rustix::fs::fstat(file)?.st_size.cast_unsigned() < end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Some(mapping) = Mapping::new(file, base, end.saturating_sub(base)) else {
        return Ok(None);
    };
    mapping.send(socket, range.start.saturating_sub(base))
}

/// Pages of a file at an address of this process, until dropped.
struct Mapping {
    address: NonNull<std::ffi::c_void>,
    length: usize,
}

impl Mapping {
    /// `None` where the file can't be mapped.
    fn new(file: &File, offset: u64, length: u64) -> Option<Self> {
        let length = usize::try_from(length).ok()?;
        // SAFETY: the system chooses an address that nothing else uses.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                offset,
            )
        };
        let address = NonNull::new(address.ok()?)?;
        Some(Self { address, length })
    }

    /// Sends what is mapped from `skip` on.
    fn send(&self, socket: impl AsFd, skip: u64) -> io::Result<Option<usize>> {
        let Some((skip, length)) = usize::try_from(skip)
            .ok()
            .and_then(|skip| Some((skip, self.length.checked_sub(skip)?)))
        else {
            return Ok(None);
        };
        let socket = socket.as_fd().as_raw_fd();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `skip` is within the mapping, and the `length` bytes from
        // there on are too. The system only reads them.
        let sent = unsafe {
            let from = self.address.as_ptr().byte_add(skip);
            libc::send(socket, from, length, flags)
        };
        usize::try_from(sent)
            .map(Some)
            .map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the address and the length are those of the mapping, and no
        // reference to it was ever made.
        let ended = unsafe { rustix::mm::munmap(self.address.as_ptr(), self.length) };
        debug_assert!(ended.is_ok(), "a mapping could not be ended");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    fn file(size: u64) -> (File, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..251).cycle().take(size.try_into().unwrap()).collect();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn any_part_arrives_as_it_is() {
        let (file, bytes) = file(WINDOW * 2 + 5);
        for range in [
            0..WINDOW * 2 + 5,
            1..WINDOW,
            WINDOW - LEAST..WINDOW,
            WINDOW + 4097..WINDOW * 2 + 5,
        ] {
            let (socket, mut client) = connected();
            let sent = send(&socket, &file, &range).unwrap().unwrap();
            drop(socket);
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            assert!(sent > 0 && sent == received.len(), "{range:?}");
            let start = usize::try_from(range.start).unwrap();
            assert!(received == bytes[start..start + sent], "{range:?}");
        }
    }

    #[test]
    fn a_few_bytes_and_what_cannot_be_mapped_go_another_way() {
        let (file, _) = file(LEAST);
        let (socket, _client) = connected();
        assert_eq!(send(&socket, &file, &(1..LEAST)).unwrap(), None);
        assert!(Mapping::new(&File::open("/").unwrap(), 0, LEAST).is_none());
    }

    #[test]
    fn nothing_is_made_up_where_a_file_lost_its_end() {
        let (file, _) = file(LEAST);
        let (socket, mut client) = connected();
        let error = send(&socket, &file, &(0..LEAST + 1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(socket);
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);

        // Also where it loses it afterwards, the system says so.
        let (socket, _client) = connected();
        let mapping = Mapping::new(&file, 0, LEAST).unwrap();
        file.set_len(0).unwrap();
        assert!(mapping.send(&socket, 0).is_err());
    }

    #[test]
    fn a_full_socket_is_an_error_to_wait_for() {
        let (file, _) = file(WINDOW);
        let (socket, _client) = connected();
        let error = loop {
            if let Err(error) = send(&socket, &file, &(0..WINDOW)) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
