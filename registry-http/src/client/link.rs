//! Where a list goes on.
//!
//! RFC 8288.

use registry_core::{ErrorKind, Result};
use url::Url;

/// Where the next page of a list is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The query that asks for it, as it was given.
    pub(super) query: String,
    /// The item that it lies behind, if that is what the query says.
    pub(super) position: Option<String>,
}

/// Where the link to the next page leads, in the values of `Link`. Only the
/// query counts: a page of this list is at its path, whatever host a registry
/// behind others takes itself for, and nothing else is asked for.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`] if there is a next page that can't be asked for:
/// to take the first one for all of them would be wrong.
pub(super) fn next<'a>(
    mut values: impl Iterator<Item = &'a str>,
    base: &Url,
) -> Result<Option<Next>> {
    let Some(target) = values.find_map(target_of_next) else {
        return Ok(None);
    };
    let next = base.join(target).ok().and_then(|url| {
        let query = url.query().filter(|query| !query.is_empty())?.to_owned();
        let mut pairs = url.query_pairs();
        let last = pairs.find(|(name, last)| name == "last" && !last.is_empty());
        let position = last.map(|(_, last)| last.into_owned());
        Some(Next { query, position })
    });
    next.map(Some).ok_or_else(|| {
        ErrorKind::Unavailable
            .error("the remote registry goes on with its list in a way that can't be followed")
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
            let found = found.map(|found| found.position.unwrap());
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
        for (value, query) in [
            ("<?n=2>; rel=\"next\"", "n=2"),
            (
                "<?next_page=b3Bh%2FcXVl&n=2>; rel=next",
                "next_page=b3Bh%2FcXVl&n=2",
            ),
            ("<http://c/v2/?last=>; rel=next", "last="),
        ] {
            let found = next([value].into_iter(), &base).unwrap().unwrap();
            assert_eq!((&*found.query, found.position), (query, None), "{value}");
        }
        for value in [
            "<http://[>; rel=next",
            "</v2/b/tags/list>; rel=next",
            "<?>; rel=next",
        ] {
            let error = next([value].into_iter(), &base).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{value}");
        }
    }
}
