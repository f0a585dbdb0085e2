//! Other ways to write the name of a repository in a path.

/// A way to write a name.
#[derive(Debug, Clone)]
pub(crate) struct Spelling {
    pub(crate) text: String,
    /// Whether it is the same name, or none.
    pub(crate) is_same: bool,
}

/// Every way that was ever tried to get past somebody who reads names
/// differently.
pub(crate) fn spellings(name: &str) -> Vec<Spelling> {
    let mut all = Vec::new();
    let mut same = |text: String| {
        let is_same = true;
        all.push(Spelling { text, is_same });
    };
    let encode = |byte: u8| format!("%{byte:02x}");
    let encode_if = |condition: &dyn Fn(usize, u8) -> bool| -> String {
        let bytes = name.bytes().enumerate();
        bytes
            .map(|(at, byte)| {
                if byte != b'/' && condition(at, byte) {
                    encode(byte)
                } else {
                    char::from(byte).to_string()
                }
            })
            .collect()
    };
    for (position, byte) in name.bytes().enumerate() {
        if byte != b'/' {
            same(encode_if(&|at, _| at == position));
        }
    }
    same(encode_if(&|_, _| true));
    same(encode_if(&|_, _| true).to_ascii_uppercase());
    let (first, last) = name.split_once('/').unwrap();
    let encoded = encode_if(&|at, _| at == 0);
    for text in [
        format!("{first}%2f{last}"),
        format!("{first}%2F{last}"),
        format!("{first}%5c{last}"),
        format!("{first}//{last}"),
        format!("/{name}"),
        format!("{name}/"),
        format!("{first}/./{last}"),
        format!("./{name}"),
        format!("{first}/x/../{last}"),
        format!("{first}/x/%2e%2e/{last}"),
        format!("x/../{name}"),
        format!("%2e%2e/{name}"),
        format!("open/there/../../{name}"),
        format!("open/there/%2e%2e/%2e%2e/{name}"),
        format!("{first};x/{last}"),
        format!("{name};x"),
        format!("{name}%3bx"),
        format!("{name}%00"),
        format!("{first}%00/{last}"),
        format!("{name}%20"),
        format!("%20{name}"),
        format!("{first}%c0%af{last}"),
        format!("{first}%e2%80%8b/{last}"),
        format!("{first}/{last}%23"),
        format!("{first}/{last}%3f"),
        // Decoded twice it would be the name.
        encoded.replacen('%', "%25", 1),
        format!("{first}%252f{last}"),
        name.to_ascii_uppercase(),
        format!("{}{}", first[..1].to_ascii_uppercase(), &name[1..]),
        format!("{name}%"),
        format!("{name}%zz"),
    ] {
        let is_same = false;
        all.push(Spelling { text, is_same });
    }
    all
}
