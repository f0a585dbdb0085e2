//! What somebody probably meant to write.

/// The one of `known` that `word` probably is, with up to two letters wrong.
pub(crate) fn suggestion<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(distance, name)| *distance <= 2 && distance.saturating_mul(2) <= name.len())
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be added, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (index, left) in a.chars().enumerate() {
        let (mut diagonal, mut before) = (index, index.saturating_add(1));
        let mut next = vec![before];
        for (right, above) in b.chars().zip(row.iter().skip(1)) {
            before = diagonal
                .saturating_add(usize::from(left != right))
                .min(above.saturating_add(1))
                .min(before.saturating_add(1));
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, suggestion};

    #[test]
    fn the_nearest_word_is_suggested() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("pull", "pull", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        let known = ["pull", "push", "overwrite"];
        assert_eq!(suggestion("pul", known), Some("pull"));
        assert_eq!(suggestion("pus", known), Some("push"));
        assert_eq!(suggestion("overrwite", known), Some("overwrite"));
        assert_eq!(suggestion("fetch", known), None);
        assert_eq!(suggestion("px", known), None);
        assert_eq!(suggestion("ovrwrt", known), None);
        assert_eq!(suggestion("x", ["y"]), None);
        assert_eq!(suggestion("form", ["rule", "from"]), Some("from"));
    }
}
