//! Medians and percentiles.

/// The middle value, or the mean of the two in the middle; nothing for an empty list.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The median of the ratios of what was measured in the same round.
pub(super) fn median_ratio(of: &[f64], to: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = of.iter().zip(to).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The value below which `percent` of the sorted values lie (nearest rank).
pub(super) fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The sum divided by the number; nothing is zero.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// How likely two samples of one distribution are to have means as far apart as these (Welch's test, for samples large
/// enough that the normal distribution stands in for Student's); nothing for samples of fewer than two.
pub(super) fn welch(one: &[f64], other: &[f64]) -> Option<f64> {
    let error = |values: &[f64]| {
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let count = values.len() as f64;
        (count >= 2.0).then(|| squares / (count - 1.0) / count)
    };
    let error = (error(one)? + error(other)?).sqrt();
    let distance = (mean(one) - mean(other)).abs();
    if error == 0.0 {
        return Some(if distance == 0.0 { 1.0 } else { 0.0 });
    }
    Some(beyond(distance / error))
}

/// How much of the normal distribution lies further from its middle than this, on both sides (Abramowitz and Stegun,
/// 7.1.26).
fn beyond(deviations: f64) -> f64 {
    let x = deviations / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let sum = polynomial.iter().fold(0.0, |sum, factor| sum * t + factor);
    sum * t * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_known_well_enough() {
        for (deviations, share) in [(0.0, 1.0), (1.0, 0.317_31), (1.96, 0.05), (2.575_83, 0.01)] {
            assert!((beyond(deviations) - share).abs() < 1e-5, "{deviations}");
        }
    }

    #[test]
    fn welch_tells_what_differs_from_what_does_not() {
        let of = |from: f64| -> Vec<f64> { (0..1000).map(|n| from + f64::from(n % 10)).collect() };
        assert!(welch(&of(1.0), &of(1.0)).unwrap() > 0.99);
        assert!(welch(&of(1.0), &of(1.1)).unwrap() > 0.1);
        assert!(welch(&of(1.0), &of(1.5)).unwrap() < 0.001);
        assert_eq!(welch(&[1.0], &of(1.0)), None);
        assert_eq!(welch(&[1.0, 1.0], &[1.0, 1.0]), Some(1.0));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The medians alone would say 1: 2 to 2.
        assert_eq!(median_ratio(&[1.0, 2.0, 9.0], &[2.0, 4.0, 1.0]), Some(0.5));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 50), Some(100));
        assert_eq!(percentile(&sorted, 99), Some(198));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
