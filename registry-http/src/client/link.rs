//! Where a list goes on.
//!
//! RFC 8288.

use url::Url;

/// The position that the link to the next page names, in the values of `Link`.
/// Only the query of the link counts, since the request is built anew.
pub(super) fn next<'a>(mut values: impl Iterator<Item = &'a str>, base: &Url) -> Option<String> {
    let target = values.find_map(target_of_next)?;
    let url = base.join(target).ok()?;
    let (_, last) = url.query_pairs().find(|(name, _)| name == "last")?;
    Some(last.into_owned())
}

/// The target of the first link in `value` whose relation is `next`.
fn target_of_next(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (_, link) = rest.split_once('<')?;
        let (target, behind) = link.split_once('>')?;
        let (parameters, following) = split_unquoted(behind, ',');
        if is_next(parameters) {
            return Some(target);
        }
        rest = following;
    }
}

/// Whether `rel=next` is among the parameters; it may be one relation of
/// several.
fn is_next(mut parameters: &str) -> bool {
    while !parameters.is_empty() {
        let (parameter, following) = split_unquoted(parameters, ';');
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            return relations.any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        parameters = following;
    }
    false
}

/// What is before the first `separator` outside quotation marks, and what is
/// behind it.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    let place = text.char_indices().find(|(_, char)| {
        let found = *char == separator && !quoted;
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
        found
    });
    match place {
        Some((place, _)) => {
            let (before, behind) = text.split_at(place);
            (before, behind.get(1..).unwrap_or_default())
        }
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_the_next_page_is_found_among_others() {
        let base = Url::parse("https://a/v2/b/tags/list?n=2").unwrap();
        for (values, expected) in [
            (
                &["</v2/b/tags/list?n=2&last=x>; rel=\"next\""][..],
                Some("x"),
            ),
            (&["<https://c/?last=a%2Fb+c>;rel=next"], Some("a/b c")),
            (
                &["<?last=x>; title=\"a, <b>; rel=next\"; REL=\"prev Next\""],
                Some("x"),
            ),
            (
                &["<?last=0>; rel=\"prev\", <?last=x>; rel=\"next\""],
                Some("x"),
            ),
            (
                &["<?last=0>; rel=\"prev\"", "<?last=x>; rel=\"next\""],
                Some("x"),
            ),
            (&["<?last=0>; rel=\"nextcloud\""], None),
            (&["<?last=0>; title=\"next\""], None),
            (&["<?last=0>; title=\"a; rel=next\""], None),
            (&["<?n=2>; rel=\"next\""], None),
            (&["?last=x; rel=\"next\""], None),
            (&["<?last=x"], None),
            (&[""], None),
        ] {
            let found = next(values.iter().copied(), &base);
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }
}
