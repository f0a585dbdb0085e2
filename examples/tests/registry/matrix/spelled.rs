//! Other ways to write a whole path.

/// How many ways there are.
pub(crate) const WAYS: usize = 8;

/// The path, its query left as it is, in the way `way` of [`WAYS`], at one of the places
/// where that can be done: the `turn`th, again from the first on behind the last.
///
/// Each is one that some server, some proxy or some client takes for the path itself.
pub(crate) fn spelled(whole: &str, way: usize, turn: usize) -> String {
    let (path, query) = match whole.find('?') {
        Some(at) => whole.split_at(at),
        None => (whole, ""),
    };
    let places: Vec<usize> = match way {
        0 => letters(path),
        // Without the first there is no path.
        1 => path.rmatch_indices('/').map(|(at, _)| at).collect(),
        _ => path.match_indices('/').map(|(at, _)| at).collect(),
    };
    let at = places[turn % places.len()];
    let (before, after) = (&path[..at], &path[at + 1..]);
    let other = match way {
        0 => format!("{before}%{:02x}{after}", path.as_bytes()[at]),
        1 if at > 0 => format!("{before}%2f{after}"),
        2 => format!("{before}//{after}"),
        3 => format!("{before}/./{after}"),
        4 => format!("{before}/x/../{after}"),
        5 => format!("{before}/x/%2e%2e/{after}"),
        6 => format!("{before}\\{after}"),
        _ => format!("{path}/"),
    };
    format!("{other}{query}")
}

/// Where the letters and digits are that aren't encoded.
fn letters(path: &str) -> Vec<usize> {
    let bytes = path.as_bytes();
    let is_encoded = |at: usize| (1..=2).any(|back| at >= back && bytes[at - back] == b'%');
    let plain = |at: &usize| bytes[*at].is_ascii_alphanumeric() && !is_encoded(*at);
    (0..bytes.len()).filter(plain).collect()
}
