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

#[test]
fn a_misspelt_key_is_told_once_and_nothing_wrong_besides() {
    let users = format!("ann:{}\n", bcrypt::hash("correct", 4).unwrap());
    let oidc = "oidc: {ci: {issuer: 'https://ci.example.com', audience: a}}";
    for (more, meant) in [
        (
            "auth: {htpasswd: {realm: r, path: users}, polcy: {path: policy.yml}}".to_owned(),
            "`auth.policy`",
        ),
        (
            "auth: {htpaswd: {realm: r, path: users}}".to_owned(),
            "`auth.htpasswd`",
        ),
        ("auth: htpaswd".to_owned(), "`auth.htpasswd`"),
        ("auth: {htpaswd: }".to_owned(), "`auth.htpasswd`"),
        (
            "auth: {htpasswd: {relm: r, path: users}}".to_owned(),
            "`auth.htpasswd.realm`",
        ),
        (
            format!("auth: {{polcy: {{path: policy.yml}}, {oidc}}}"),
            "`auth.policy`",
        ),
        (
            "auth: {polcy: {path: policy.yml}, keys: {enabled: true}}".to_owned(),
            "`auth.policy`",
        ),
        (
            "auth: {htpaswd: {realm: r, path: users}, tokenserver: {enabled: true}}".to_owned(),
            "`auth.htpasswd`",
        ),
        // Of which issuers there are, nothing is known.
        (
            format!(
                "auth: {{policy: {{path: policy.yml}}, {}}}",
                oidc.replace("oidc", "odic")
            ),
            "`auth.oidc`",
        ),
    ] {
        let end = with_issuer("  - workload ci ref=a may pull a\n")
            .file("config.yml", format!("{CONFIGURATION}{more}\n"))
            .file("users", &users)
            .arguments(&["check", "config.yml"])
            .run();
        assert_eq!(end.status.code(), Some(2), "{more}: {end:?}");
        let advice = format!("did you mean {meant}?");
        assert!(end.stdout.contains(&advice), "{more}: {end:?}");
        assert_eq!(end.stdout.lines().count(), 1, "{more}: {end:?}");
    }
    for storage in ["storge: inmemory", "storage: {inmemry: {}}"] {
        let file = format!("version: 0.1\n{storage}\n");
        let setup = Setup::new().file("config.yml", file);
        let end = asked(setup, &["check", "config.yml"]);
        assert!(end.stdout.contains("did you mean"), "{end:?}");
        assert_eq!(end.stdout.lines().count(), 1, "{end:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let with = |wrong: &str| {
        Setup::new()
            .file(
                "config.yml",
                format!(
                    "{CONFIGURATION}auth:\n  htpasswd: {{realm: r, path: users}}\n  \
                     policy: {{path: policy.yml}}\n{wrong}"
                ),
            )
            .file("users", "ann\nben:{SHA}x\n")
            .file(
                "policy.yml",
                "version: 1\nrules:\n  - uesr ann may pull a\n  - user ann may pul a\n",
            )
    };
    let files = [
        "config.yml:5: users:1: there is no colon",
        "config.yml:5: users:2: the hash is neither bcrypt nor argon2id; make it with htpasswd -B",
        "config.yml:6: policy.yml:3: ",
        "config.yml:6: policy.yml:4: ",
    ];
    let own = [
        "config.yml:7: unknown key `htp`",
        "config.yml:9: `loglevel` can't be `loud`",
    ];
    let all = [&files[..], &own].concat();
    for (wrong, command, expected) in [
        ("htp: {}\n\nloglevel: loud\n", "check", &all[..]),
        ("", "check", &files),
        ("", "serve", &files),
    ] {
        let end = asked(with(wrong), &[command, "config.yml"]);
        assert_eq!(end.status.code(), Some(2), "{end:?}");
        let told = format!("{}{}", end.stdout, end.stderr);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{told}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{expected}: {told}");
        }
    }
    // Where the storage and the address can't be told, the files can all the same.
    let file = "version: 0.1\nstorage: {inmemory: {}, filesystem: {}}\nhttp: {addr: 5000}\n\
                auth: {policy: {path: policy.yml}}\n";
    let end = asked(
        with("").file("config.yml", file),
        &["check", "config.yml", "--json"],
    );
    let answer: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
    let lines = answer["problems"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|problem| problem["line"].as_u64()).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4), Some(4)], "{answer}");
}

#[test]
fn who_confuses_the_configuration_and_the_policy_file_is_told_so() {
    let policy = "version: 1\ngroups: {web: [ann]}\nrules: [group web may pull a]\n";
    for (command, advice) in [
        (
            &["check", "policy.yml"][..],
            "`registry auth check policy.yml`",
        ),
        (&["serve", "policy.yml"], "`registry auth check policy.yml`"),
        (
            &[
                "auth",
                "explain",
                "ann",
                "pull",
                "a",
                "--config",
                "policy.yml",
            ],
            "`registry auth check policy.yml`",
        ),
        (
            &["auth", "check", "config.yml"],
            "`registry check config.yml`",
        ),
        (
            &[
                "auth",
                "explain",
                "ann",
                "pull",
                "a",
                "--policy",
                "config.yml",
            ],
            "`--config config.yml`",
        ),
    ] {
        let setup = Setup::new()
            .file("config.yml", CONFIGURATION)
            .file("policy.yml", policy);
        let end = asked(setup, command);
        assert_eq!(end.status.code(), Some(2), "{command:?} {end:?}");
        let told = format!("{}{}", end.stdout, end.stderr);
        assert!(told.contains(advice), "{command:?} {told}");
        assert_eq!(told.lines().count(), 1, "{command:?} {told}");
    }
}
