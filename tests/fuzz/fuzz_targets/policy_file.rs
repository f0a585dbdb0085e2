//! A text that may be a policy file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::PolicyFile;

fuzz_target!(|content: &[u8]| {
    // Whatever is wrong is in one of its lines, or in the first.
    if let Err(problems) = PolicyFile::parse("p", content) {
        let lines = 1 + content
            .iter()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .count();
        assert!(!problems.is_empty());
        for problem in problems {
            let problem = problem.to_string();
            let line = problem
                .strip_prefix("p:")
                .and_then(|rest| rest.split(':').next());
            let line: usize = line.and_then(|line| line.parse().ok()).expect(&problem);
            assert!((1..=lines).contains(&line), "{problem}");
        }
    }
});
