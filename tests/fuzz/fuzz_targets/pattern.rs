//! A pattern of repository names, a space, and a name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::Pattern;
use registry_core::RepositoryName;

/// By the definition, whatever it costs.
fn matches(parts: &[&str], components: &[&str]) -> bool {
    match (parts, components) {
        ([], _) => components.is_empty(),
        (["**"], _) => !components.is_empty(),
        (["**", rest @ ..], _) => {
            (0..=components.len()).any(|skipped| matches(rest, &components[skipped..]))
        }
        ([part, parts @ ..], [component, components @ ..]) => {
            (*part == "*" || part == component) && matches(parts, components)
        }
        (_, []) => false,
    }
}

fuzz_target!(|text: &str| {
    let Some((pattern, name)) = text.split_once(' ') else {
        return;
    };
    let (Ok(pattern), Ok(name)) = (pattern.parse::<Pattern>(), name.parse::<RepositoryName>())
    else {
        return;
    };
    let written = pattern.to_string();
    assert_eq!(written.parse::<Pattern>().unwrap(), pattern);
    let parts: Vec<_> = written.split('/').collect();
    // More take the definition too long.
    if parts.iter().filter(|part| **part == "**").count() <= 4 {
        let components: Vec<_> = name.as_str().split('/').collect();
        assert_eq!(
            pattern.matches(&name),
            matches(&parts, &components),
            "{text}"
        );
    }
});
