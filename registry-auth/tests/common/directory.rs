//! What a directory says, byte by byte.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A login of who searches, which succeeded.
pub(crate) const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
/// The end of a search.
pub(crate) const DONE: &[u8] = b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00";

/// A value with a tag in front.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], content].concat()
}

/// The entry of `user`, with these values.
pub(crate) fn entry(user: &str, values: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| tagged(4, text.as_bytes());
    let attribute = |(name, value): &(&str, &str)| {
        let values = tagged(0x31, &text(value));
        tagged(0x30, &[text(name), values].concat())
    };
    let attributes: Vec<_> = [("uid", user)]
        .iter()
        .chain(values)
        .map(attribute)
        .collect();
    let found = [text("uid=x"), tagged(0x30, &attributes.concat())].concat();
    tagged(0x30, &[&[2, 1, 0][..], &tagged(0x64, &found)].concat())
}

/// Lets everybody log in, and finds `entry` whatever is looked for. Returns how often it
/// was asked, once nobody asks any more.
pub(crate) async fn find(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    entry: Option<Vec<u8>>,
) -> usize {
    let mut asked = 0;
    let mut request = [0; 4096];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let start = if request[1] < 0x80 {
            2
        } else {
            2 + usize::from(request[1] & 0x7f)
        };
        let (id, operation) = (request[start + 2], request[start + 3]);
        let answer = match operation {
            0x60 => BOUND.to_vec().tap(4, id),
            0x63 => {
                let entry = entry.clone().map(|entry| entry.tap(4, id));
                [entry.unwrap_or_default(), DONE.to_vec().tap(4, id)].concat()
            }
            _ => return asked,
        };
        asked += 1;
        stream.write_all(&answer).await.unwrap();
    }
    asked
}

pub(crate) trait Tap {
    fn tap(self, at: usize, byte: u8) -> Self;
}

impl Tap for Vec<u8> {
    fn tap(mut self, at: usize, byte: u8) -> Self {
        self[at] = byte;
        self
    }
}
