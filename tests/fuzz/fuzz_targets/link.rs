//! Values of `Link`, one in each line, from a registry that is asked. The lines
//! also serve as positions in a list.

#![no_main]

#[path = "../../../registry-http/src/client/link.rs"]
mod link;

use libfuzzer_sys::fuzz_target;
use link::Next;
use registry_core::{ErrorKind, Operation, PageRequest, Result};
use url::Url;

fn next<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Option<Next>> {
    link::next(values.into_iter(), &Url::parse(URL).unwrap())
}

const URL: &str = "https://registry.example.com/v2/a/tags/list?n=2";

fuzz_target!(|text: &str| {
    match next(text.lines()) {
        Ok(None) => {}
        Ok(Some(next)) => {
            assert_ne!(next.query, "");
            assert_ne!(next.position.as_deref(), Some(""));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
    }

    // An empty one is the start of the list.
    for position in text.lines().filter(|line| !line.is_empty()) {
        let operation = Operation::ListTags {
            repository: "a".parse().unwrap(),
            page: PageRequest::default()
                .limit(Some(2))
                .after(Some(position.to_owned())),
        };
        let (_, target) = operation.render();
        let query = target.split_once('?').unwrap().1;
        // As this registry says it, and as others may.
        let title: String = position
            .chars()
            .filter(|char| !matches!(char, '"' | '\\'))
            .collect();
        for link in [
            format!("<{target}>; rel=\"next\""),
            format!("<https://other.example.com{target}>;rel=next"),
            format!(
                "</v2/?last=0>; rel=\"prev\", <{target}>; title=\"{title}\"; rel=\"next last\""
            ),
        ] {
            let next = next([&*link]).unwrap().unwrap();
            assert_eq!(next.position.as_deref(), Some(position), "{link}");
            assert_eq!(next.query, query, "{link}");
        }
    }
});
