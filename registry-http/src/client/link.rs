//! Where a list goes on.
//!
//! RFC 8288.

use registry_core::{ErrorKind, Result};
use url::Url;

/// The position that the link to the next page names, in the values of `Link`.
/// Only the query of the link counts, since the request is built anew.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`] if there is a next page that can't be asked for:
/// to take the first one for all of them would be wrong.
pub(super) fn next<'a>(
    mut values: impl Iterator<Item = &'a str>,
    base: &Url,
) -> Result<Option<String>> {
    let Some(target) = values.find_map(target_of_next) else {
        return Ok(None);
    };
    let position = base.join(target).ok().and_then(|url| {
        let mut pairs = url.query_pairs();
        let (_, last) = pairs.find(|(name, last)| name == "last" && !last.is_empty())?;
        Some(last.into_owned())
    });
    position.map(Some).ok_or_else(|| {
        ErrorKind::Unavailable.error(
            "the remote registry goes on with its list in a way that can't be followed; it has to \
             name the last item",
        )
    })
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
            (&["?last=x; rel=\"next\""], None),
            (&["<?last=x"], None),
            (&[""], None),
        ] {
            let found = next(values.iter().copied(), &base).unwrap();
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
        for value in [
            "<?n=2>; rel=\"next\"",
            "<?next_page=b3BhcXVl>; rel=next",
            "<?last=>; rel=next",
            "<http://[>; rel=next",
        ] {
            let error = next([value].into_iter(), &base).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{value}");
        }
    }
}
