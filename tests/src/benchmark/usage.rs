//! Processor time and memory of a process and its children, as Linux tells them.

use std::{fs, io};

/// What a process tree has used since it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// User and system time, in seconds.
    pub(super) cpu: f64,
    /// Memory in use now, in bytes; shared pages count in each process.
    pub(super) resident: u64,
    /// The most that was in use since [`forget_peak`].
    pub(super) peak: u64,
}

/// What the process and its children have used; nothing where the system doesn't tell.
pub(super) fn of_tree(process: u32) -> Option<Usage> {
    let mut sum = of_process(process)?;
    for child in children(process) {
        // One that has ended meanwhile is counted in its parent's time.
        if let Some(usage) = of_tree(child) {
            sum.cpu += usage.cpu;
            sum.resident += usage.resident;
            sum.peak += usage.peak;
        }
    }
    Some(sum)
}

/// The processor time of this program alone, in seconds.
pub(super) fn of_this_program() -> Option<f64> {
    Some(of_process(std::process::id())?.cpu)
}

/// Lets the peak begin anew at what is in use now.
///
/// # Errors
///
/// When the system refuses: the peak would then be that of an earlier measurement.
pub(super) fn forget_peak(process: u32) -> io::Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5")?;
    for child in children(process) {
        forget_peak(child)?;
    }
    Ok(())
}

fn children(process: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn of_process(process: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    // The name in parentheses may hold anything; the times are the 12th to 15th field after it.
    let ticks: u64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let memory = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    };
    Some(Usage {
        cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident: memory("VmRSS:")?,
        peak: memory("VmHWM:")?,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn work_and_memory_show() {
        let this = std::process::id();
        forget_peak(this).unwrap();
        let before = of_tree(this).unwrap();
        let mut sum = 0_u64;
        while of_tree(this).unwrap().cpu < before.cpu + 0.05 {
            for number in 0..100_000 {
                sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
            }
        }
        let block = black_box(vec![1_u8; 64 << 20]);
        let with = of_tree(this).unwrap();
        drop(block);
        let after = of_tree(this).unwrap();
        assert!(with.resident >= before.resident + (60 << 20));
        assert!(after.peak >= before.resident + (60 << 20));
        assert!(after.resident < with.resident);
    }

    #[test]
    fn what_has_no_process_has_no_usage() {
        assert_eq!(of_tree(u32::MAX), None);
    }
}
