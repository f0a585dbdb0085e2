//! A pattern of repository names, a name, and the names of a user and of groups,
//! separated by spaces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::{Pattern, Principal};
use registry_core::RepositoryName;

/// By the definition, whatever it costs.
fn matches(parts: &[&str], components: &[&str], user: Option<&str>, groups: &[&str]) -> bool {
    let on = |parts: &[&str], components: &[&str]| matches(parts, components, user, groups);
    match (parts, components) {
        ([], _) => components.is_empty(),
        (["**"], _) => !components.is_empty(),
        (["**", rest @ ..], _) => {
            (0..=components.len()).any(|skipped| on(rest, &components[skipped..]))
        }
        ([part, parts @ ..], [component, components @ ..]) => {
            let fits = match *part {
                "*" => true,
                "{user}" => user == Some(component),
                "{group}" => groups.contains(component),
                name => name == *component,
            };
            fits && on(parts, components)
        }
        (_, []) => false,
    }
}

fuzz_target!(|text: &str| {
    let mut words = text.split(' ');
    let (Some(pattern), Some(name)) = (words.next(), words.next()) else {
        return;
    };
    let user = words.next();
    let groups: Vec<_> = words.collect();
    let principal = user.map(|user| {
        let user = Principal::new(user);
        groups
            .iter()
            .fold(user, |user, group| user.member_of(*group))
    });
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
            pattern.matches_for(&name, principal.as_ref()),
            matches(&parts, &components, user, &groups),
            "{text}"
        );
    }
});
