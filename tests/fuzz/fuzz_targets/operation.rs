//! A method, a space, and the target.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use registry_core::{Operation, Result};

fn parse(method: &Method, target: &str) -> Result<Operation> {
    match target.split_once('?') {
        Some((path, query)) => Operation::parse(method, path, Some(query)),
        None => Operation::parse(method, target, None),
    }
}

fuzz_target!(|request: &str| {
    let Some((method, target)) = request.split_once(' ') else {
        return;
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return;
    };
    if let Ok(operation) = parse(&method, target) {
        let (method, target) = operation.render();
        assert_eq!(parse(&method, &target).unwrap(), operation, "{target}");
        target.parse::<http::Uri>().unwrap();
    }
});
