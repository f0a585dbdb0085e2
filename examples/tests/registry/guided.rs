//! What it says to whoever got something wrong, so that the next try is right.

use crate::program::{End, Setup, eventually};

const CONFIGURATION: &str = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n";

/// With jobs of one issuer, and a policy file of these rules.
fn with_issuer(rules: &str) -> Setup {
    Setup::new()
        .file(
            "config.yml",
            format!(
                "{CONFIGURATION}auth:\n  policy: {{path: policy.yml}}\n  oidc:\n    \
                 github: {{issuer: 'https://ci.example.com', audience: a}}\n"
            ),
        )
        .file("policy.yml", format!("version: 1\nrules:\n{rules}"))
}

fn asked(setup: Setup, arguments: &[&str]) -> End {
    setup.arguments(arguments).run()
}

#[test]
fn a_rule_for_an_issuer_that_nobody_configured_is_refused_by_its_line() {
    const WORDS: &str = "policy.yml:3: no issuer is called `githubb` here; did you mean `github`?";
    let rule = "  - workload githubb ref=a may pull a\n";
    for command in [
        &["check", "config.yml"][..],
        &["serve", "config.yml"],
        &[
            "auth",
            "explain",
            "ann",
            "pull",
            "a",
            "--config",
            "config.yml",
        ],
    ] {
        let end = asked(with_issuer(rule), command);
        assert_eq!(end.status.code(), Some(2), "{end:?}");
        let told = format!("{}{}", end.stdout, end.stderr);
        assert!(told.contains(WORDS), "{told}");
    }
    // Nobody knows of which configuration it is.
    let end = asked(with_issuer(rule), &["auth", "check", "policy.yml"]);
    assert_eq!(end.status.code(), Some(0), "{end:?}");
}

#[tokio::test]
async fn a_changed_rule_for_an_issuer_that_nobody_configured_leaves_the_rules_as_they_were() {
    let program = with_issuer("  - anyone may pull a\n")
        .arguments(&["serve", "config.yml"])
        .start();
    let changed = "version: 1\nrules:\n  - anyone may pull b\n  - workload x ref=a may pull b\n";
    std::fs::write(program.path("policy.yml"), changed).unwrap();
    eventually("the mistake is told", async || {
        let told = program.stderr();
        told.contains("policy.yml:4: no issuer is called `x` here; configured are github")
    })
    .await;
    assert_eq!(program.get("/v2/a/tags/list").await.0, 404);
    assert_eq!(program.get("/v2/b/tags/list").await.0, 401);
}

#[test]
fn whoever_names_nobody_in_particular_is_told_how_to_name_somebody() {
    for (who, advice) in [
        (
            "group web",
            "name one who is in the group, such as `user ann`",
        ),
        ("users", "such as `user ann` or `robot ci`"),
        ("", "`user NAME`, `robot NAME` or `workload ISSUER SUBJECT`"),
    ] {
        for command in [
            &[
                "auth",
                "explain",
                who,
                "pull",
                "a",
                "--policy",
                "policy.yml",
            ][..],
            &["auth", "token", "revoke", who, "--root", "data"],
        ] {
            let setup = with_issuer("  - users may pull a\n").directory("data");
            let end = asked(setup, command);
            assert_eq!(end.status.code(), Some(2), "{command:?} {end:?}");
            assert!(end.stderr.contains(advice), "{command:?} {end:?}");
        }
    }
    let policy = "version: 1\ndisabled: [group web]\nrules: []\n";
    let setup = Setup::new().file("policy.yml", policy);
    let end = asked(setup, &["auth", "check", "policy.yml"]);
    assert_eq!(end.status.code(), Some(2), "{end:?}");
    assert!(
        end.stdout.starts_with("policy.yml:2: `group web`"),
        "{end:?}"
    );
}
