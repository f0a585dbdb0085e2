//! A bar chart: a panel for each scenario, a bar for each server.

use std::fmt::Write as _;

use super::{
    report::number,
    results::{Outcome, Row},
    statistics::median,
};

const PANELS_ACROSS: usize = 3;
const WIDTH: usize = 340;
const TITLE: usize = 36;
const BAR: usize = 20;
const GAP: usize = 24;
/// Where bars begin, and how long the longest is; the number stands after it.
const NAMES: usize = 120;
const LONGEST: usize = 140;

/// Told apart also by those who don't see all colours (after Okabe and Ito); the first server stands out.
const COLOURS: [&str; 7] = [
    "#d55e00", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#999999",
];

/// The whole picture as SVG.
pub(super) fn draw(outcomes: &[Outcome]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in outcomes.iter().flat_map(|outcome| &outcome.rows) {
        if !names.contains(&row.server.as_str()) {
            names.push(&row.server);
        }
    }
    let mut body = String::new();
    let mut top = GAP;
    for line in outcomes.chunks(PANELS_ACROSS) {
        for (column, outcome) in line.iter().enumerate() {
            panel(
                &mut body,
                GAP + column * (WIDTH + GAP),
                top,
                outcome,
                &names,
            );
        }
        let rows = line.iter().map(|outcome| outcome.rows.len()).max();
        top += TITLE + rows.unwrap_or(0) * BAR + GAP;
    }
    let width = GAP + PANELS_ACROSS * (WIDTH + GAP);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}" font-family="system-ui, sans-serif" font-size="12" role="img">
<title>Benchmark results</title>
<rect width="100%" height="100%" fill="#ffffff"/>
{body}</svg>
"##
    )
}

fn panel(text: &mut String, left: usize, top: usize, outcome: &Outcome, names: &[&str]) {
    let unit = outcome.scenario.unit();
    let value = |row: &Row| median(&row.values()).unwrap_or(0.0);
    let most = outcome.rows.iter().map(value).fold(0.0, f64::max);
    let better = if unit.is_rate() {
        "more is better"
    } else {
        "less is better"
    };
    // Writing to a string doesn't fail.
    let _ = writeln!(
        text,
        r##"<g transform="translate({left} {top})">
<text y="10" font-weight="600">{}</text>
<text y="25" font-size="10" fill="#555555">{} · {better}{}</text>"##,
        escape(outcome.scenario.title),
        unit.text(),
        if outcome.detail.is_empty() {
            String::new()
        } else {
            format!(" · {}", escape(&outcome.detail))
        },
    );
    for (index, row) in outcome.rows.iter().enumerate() {
        let y = TITLE + index * BAR;
        let value = value(row);
        let length = if most > 0.0 {
            (value / most * LONGEST as f64).max(1.0)
        } else {
            1.0
        };
        let colour = names
            .iter()
            .position(|name| *name == row.server)
            .and_then(|place| COLOURS.get(place % COLOURS.len()))
            .unwrap_or(&"#999999");
        let _ = writeln!(
            text,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text><rect x="{NAMES}" y="{}" width="{length:.1}" height="{}" fill="{colour}"/><text x="{:.1}" y="{}">{}</text>"#,
            NAMES - 6,
            y + 14,
            escape(&row.server),
            y + 3,
            BAR - 6,
            NAMES as f64 + length + 5.0,
            y + 14,
            number(value),
        );
    }
    text.push_str("</g>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::{results::Sample, scenario};

    #[test]
    fn bars_are_in_proportion_and_names_are_escaped() {
        let row = |server: &str, value: f64| Row {
            server: server.to_owned(),
            samples: vec![Sample {
                value,
                ..Sample::default()
            }],
        };
        let outcome = Outcome {
            scenario: scenario::ALL[0],
            detail: String::new(),
            rows: vec![row("<a&b>", 50.0), row("c", 200.0)],
        };
        let picture = draw(&[outcome]);
        assert!(picture.contains(r#"width="35.0""#), "{picture}");
        assert!(picture.contains(r#"width="140.0""#));
        assert!(picture.contains("&lt;a&amp;b&gt;") && !picture.contains("<a&b>"));
    }
}
