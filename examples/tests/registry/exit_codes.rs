//! How it ends: in the same way for the same fault, whichever command meets it.

use crate::program::Setup;

/// What is wrong, in words for whoever reads a failure, and all that meets it.
fn faults() -> Vec<(&'static str, i32, Vec<Vec<&'static str>>)> {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    vec![
        (
            "a mistake in the configuration",
            2,
            vec![
                words("serve mistake.yml"),
                words("check mistake.yml"),
                words("auth explain ann pull a --config mistake.yml"),
            ],
        ),
        (
            "a mistake in a file that the configuration names",
            2,
            vec![
                words("serve names.yml"),
                words("check names.yml"),
                words("auth explain ann pull a --config names.yml"),
            ],
        ),
        (
            "a mistake in a policy file",
            2,
            vec![
                words("auth check policy.yml"),
                words("auth explain ann pull a --policy policy.yml"),
            ],
        ),
        (
            "a file that isn't there",
            2,
            vec![
                words("serve no.yml"),
                words("check no.yml"),
                words("auth check no.yml"),
                words("auth explain ann pull a --policy no.yml"),
                words("auth explain ann pull a --config no.yml"),
            ],
        ),
        (
            "a mistake in the command line",
            2,
            vec![
                words("serve --adr x"),
                words("check"),
                words("auth explain ann pull UPPER --policy good.yml"),
                words("auth explain ann pull a:-x --policy good.yml"),
                words("rebuild"),
                words("verify --jsn data"),
                words("nothing"),
            ],
        ),
        (
            "a data directory that isn't there, or holds no data",
            2,
            vec![
                words("rebuild no"),
                words("verify no"),
                words("rebuild ."),
                words("verify ."),
                words("verify good.yml"),
                words("auth robot list --root no"),
                words("auth robot list --root ."),
                words("auth robot create ci --root ."),
                words("auth token revoke ann --root no"),
                words("auth token rotate --root no"),
            ],
        ),
        (
            "what is asked about isn't so",
            1,
            vec![words("auth explain ann push a --policy good.yml")],
        ),
        (
            "nothing",
            0,
            vec![
                words("check good-config.yml"),
                words("auth check good.yml"),
                words("auth explain ann pull a --policy good.yml"),
                words("--help"),
            ],
        ),
    ]
}

#[test]
fn a_fault_has_one_exit_code_whichever_command_meets_it() {
    const NAMES: &str = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n";
    for (fault, code, commands) in faults() {
        for command in commands {
            let end = Setup::new()
                .file("mistake.yml", "version: 0.1\nstorge: inmemory\n")
                .file(
                    "names.yml",
                    format!("{NAMES}auth: {{policy: {{path: policy.yml}}}}\n"),
                )
                .file("good-config.yml", NAMES)
                .file("policy.yml", "rules: [x]\n")
                .file("good.yml", "version: 1\nrules:\n  - user ann may pull a\n")
                .arguments(&command)
                .run();
            assert_eq!(
                end.status.code(),
                Some(code),
                "{fault}: {command:?} {end:?}"
            );
        }
    }
}

#[test]
fn the_help_of_every_command_tells_the_exit_codes() {
    for command in [
        "--help",
        "serve --help",
        "check --help",
        "verify --help",
        "rebuild --help",
        "auth --help",
        "auth check --help",
        "auth explain --help",
        "auth robot create --help",
        "auth key revoke --help",
        "auth token rotate --help",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let end = Setup::new().arguments(&arguments).run();
        for code in ["\n  0  ", "\n  1  ", "\n  2  "] {
            assert!(end.stdout.contains(code), "{command}: {}", end.stdout);
        }
    }
    // What else is there to be known isn't lost by it.
    let end = Setup::new().arguments(&["serve", "--help"]).run();
    assert!(end.stdout.contains("Signals:"), "{}", end.stdout);
}

#[test]
fn a_configuration_in_the_place_of_a_command_is_told_how_to_be_served() {
    for (word, is_hinted) in [("config.yml", true), ("settings", true), ("srve", false)] {
        let end = Setup::new()
            .file("settings", "version: 0.1\n")
            .arguments(&[word])
            .run();
        assert_eq!(end.status.code(), Some(2), "{end:?}");
        let hint = format!("`registry serve {word}`");
        assert_eq!(end.stderr.contains(&hint), is_hinted, "{}", end.stderr);
    }
}
