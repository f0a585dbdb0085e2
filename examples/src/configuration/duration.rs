//! Times such as `1h30m`, as Go programs write them.

use std::time::Duration;

/// Reads a time: numbers, each with a unit. Only zero needs none.
///
/// # Errors
///
/// With a sentence that shows how to write it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let malformed = || format!("`{text}` isn't a time; write one such as 30s, 90m or 168h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(malformed)?;
        let (number, behind) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| malformed())?;
        let end = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(malformed()),
        };
        total = Duration::try_from_secs_f64(number * seconds)
            .ok()
            .and_then(|part| total.checked_add(part))
            .ok_or_else(malformed)?;
        rest = behind;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_units() {
        for (text, seconds) in [
            ("168h", 604_800.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            ("250ms", 0.25),
            ("0", 0.0),
            ("0s", 0.0),
        ] {
            assert!(
                (parse(text).unwrap().as_secs_f64() - seconds).abs() < 1e-9,
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "h",
            "-1s",
            "1d",
            "1h 30m",
            "1e9h9",
            "..s",
            "9999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
