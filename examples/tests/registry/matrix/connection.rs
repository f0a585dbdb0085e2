//! A connection over which requests go as they are written: no client tidies their paths.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::program::PATIENCE;

/// One connection after the other to an address: a new one where the last was closed.
pub(crate) struct Connection {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    pub(crate) fn to(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
        }
    }

    /// Sends a request to `path`, as it is, with headers written as `name: value`.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[String],
        body: &str,
    ) -> Answer {
        let mut lines = String::new();
        for header in headers {
            lines.push_str(header);
            lines.push_str("\r\n");
        }
        let (host, length) = (&self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}content-length: {length}\r\n\r\n{body}"
        );
        let stream = self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect(&self.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let answer = read(stream, method);
        // What can't be understood may be the last.
        if answer.status == 400 || answer.header("connection") == Some("close") {
            self.stream = None;
        }
        answer
    }
}

fn read(stream: &mut BufReader<TcpStream>, method: &str) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let count = stream.read_line(&mut head).unwrap();
        assert!(count > 0, "the answer breaks off: {head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return answer;
    }
    let length = answer.header("content-length").map(str::parse::<u64>);
    let mut body = Vec::new();
    if let Some(length) = length {
        let mut content = stream.take(length.unwrap());
        content.read_to_end(&mut body).unwrap();
    } else {
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        while read_chunk(stream, &mut body) {}
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}

/// RFC 9112, section 7.1; says whether there is more.
fn read_chunk(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> bool {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let length = u64::from_str_radix(line.trim(), 16).unwrap();
    stream.by_ref().take(length).read_to_end(body).unwrap();
    stream.read_line(&mut line).unwrap();
    length > 0
}
