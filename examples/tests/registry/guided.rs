//! What it says to whoever got something wrong, so that the next try is right.

use registry_tests::harness::silence::PASSWORD;
use serde_json::{Value, json};

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
    let users = format!("ann:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
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
    let answer: Value = serde_json::from_str(&end.stdout).unwrap();
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

const FILES: &str =
    "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp: {addr: '127.0.0.1:0'}\n";

/// With data and configurations of its server, with a policy file and without, once a
/// shell has done something.
fn with_data(preparation: &str) -> Setup {
    let policy = "auth: {policy: {path: policy.yml}";
    Setup::after(preparation)
        .directory("data")
        .file("open.yml", FILES)
        .file("memory.yml", CONFIGURATION)
        .file("config.yml", format!("{FILES}{policy}}}\n"))
        .file(
            "off.yml",
            format!("{FILES}{policy}, keys: {{enabled: false}}}}\n"),
        )
        .file(
            "policy.yml",
            "version: 1\nrules: [user ann is maintainer of a]\n",
        )
}

/// What makes a robot.
const ROBOT: &str = "\"$0\" auth robot create ci --config config.yml >made";

#[test]
fn whoever_makes_a_robot_or_a_key_is_told_where_it_is_of_no_use() {
    let policy = "name a file of rules (`auth.policy.path`)";
    for (place, code, words) in [
        (
            ["--config", "open.yml"],
            2,
            "name a file of rules in `auth.policy.path`",
        ),
        (["--config", "off.yml"], 2, "`auth.keys.enabled`"),
        (["--config", "memory.yml"], 2, "in memory"),
        (["--config", "no.yml"], 2, "can't be read"),
        (["--root", "data"], 0, policy),
        (["--config", "config.yml"], 0, ""),
    ] {
        for (command, preparation) in [("robot", ":"), ("key", ROBOT)] {
            let arguments = [&["auth", command, "create", "ci"][..], &place].concat();
            let end = asked(with_data(preparation), &arguments);
            assert_eq!(end.status.code(), Some(code), "{arguments:?} {end:?}");
            assert!(end.stderr.contains(words), "{arguments:?} {end:?}");
            let is_told = end.stderr.contains("auth.policy.path");
            assert_eq!(is_told, words.contains("auth.policy.path"), "{end:?}");
        }
    }
    // A server that takes keys was there.
    let setup = with_data(":").directory("data/auth/keys");
    let end = asked(setup, &["auth", "robot", "create", "ci", "--root", "data"]);
    assert_eq!((end.status.code(), &*end.stderr), (Some(0), ""), "{end:?}");
}

#[test]
fn what_is_no_data_of_a_registry_is_neither_listed_nor_added_to() {
    let lists = [
        &["robot", "list"][..],
        &["robot", "delete", "ci"],
        &["key", "create", "ci"],
        &["key", "list", "ci"],
        &["key", "list", "ann", "--user"],
        &["key", "revoke", "ci", "abc"],
    ];
    let makes = [&["robot", "create", "ci"][..], &["token", "revoke", "ann"]];
    // Logins of other programs are kept in such a directory, too.
    let of_others = || {
        let setup = with_data(":").directory("data/auth");
        setup.file("data/auth/htpasswd", "")
    };
    let prepared = || with_data(":").directory("data/lost+found");
    let words = "registry: data holds ";
    let lists = lists.iter().map(|command| (command, false));
    for (command, may_make) in lists.chain(makes.iter().map(|command| (command, true))) {
        for place in [["--root", "data"], ["--config", "config.yml"]] {
            for (setup, is_refused) in [(of_others(), true), (prepared(), !may_make)] {
                let arguments = [&["auth"], *command, &place].concat();
                let mut program = setup.arguments(&arguments).begin();
                let (code, told) = (program.wait().code(), program.stderr());
                let expected = if is_refused { 2 } else { 0 };
                assert_eq!(code, Some(expected), "{arguments:?} {told}");
                assert_eq!(told.starts_with(words), is_refused, "{told}");
                let is_made = program.path("data/auth/records.log").is_file();
                assert_eq!(is_made, !is_refused, "{arguments:?}");
            }
        }
    }
    let question = "explain robot$ci pull a --policy policy.yml --root data";
    let question: Vec<_> = ["auth"].into_iter().chain(question.split(' ')).collect();
    let end = asked(of_others(), &question);
    assert_eq!(end.status.code(), Some(2), "{end:?}");
}

#[test]
fn a_key_ends_after_a_time_with_a_day_or_at_an_instant() {
    let create = |expires: &str| {
        let command = ["auth", "key", "create", "ci", "--root", "data", "--json"];
        let arguments = [&command[..], &["--expires", expires]].concat();
        asked(with_data(ROBOT), &arguments)
    };
    for (expires, end) in [
        // The day is a part of it.
        ("9998-01-31", "9998-02-01T00:00:00Z"),
        ("9998-01-31T12:00:00Z", "9998-01-31T12:00:00Z"),
        ("9998-01-31T12:00:00+02:00", "9998-01-31T10:00:00Z"),
    ] {
        let made = create(expires);
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let key: Value = serde_json::from_str(&made.stdout).unwrap();
        assert_eq!(key["expires_at"], end);
    }
    assert_eq!(create("90d").status.code(), Some(0));
    for (expires, words) in [
        ("2020-01-31", "isn't later than now"),
        ("2020-01-31T12:00:00Z", "isn't later than now"),
        ("0d", "isn't later than now"),
        ("9999-12-31", "that is too long"),
        ("99999999d", "that is too long"),
        ("500000000000000000d", "that is too long"),
        // Of which place it is nobody knows.
        ("9998-01-31T12:00:00", "is no time; write one such as"),
        ("9998-02-30", "is no time"),
        ("tomorrow", "is no time"),
    ] {
        let end = create(expires);
        assert_eq!(end.status.code(), Some(2), "{expires} {end:?}");
        assert!(end.stderr.contains(words), "{expires} {end:?}");
    }
}

#[test]
fn a_job_of_an_issuer_that_nobody_configured_may_do_nothing() {
    for (who, code, words) in [
        ("github:job", 0, "because of `anyone may pull a`"),
        (
            "githubb:job",
            1,
            "githubb:job may do nothing: the configuration names no issuer `githubb`",
        ),
        ("ann", 0, "because of `anyone may pull a`"),
    ] {
        let explain = |place: [&str; 2]| {
            let question = ["auth", "explain", who, "pull", "a"];
            let setup = with_issuer("  - anyone may pull a\n");
            asked(setup, &[&question[..], &place].concat())
        };
        let end = explain(["--config", "config.yml"]);
        assert_eq!(end.status.code(), Some(code), "{end:?}");
        assert!(end.stdout.contains(words), "{end:?}");
        // Nobody knows of which configuration it is.
        let end = explain(["--policy", "policy.yml"]);
        assert_eq!(end.status.code(), Some(0), "{end:?}");
    }
}

#[test]
fn what_is_not_there_is_named_with_the_command_that_lists_what_is() {
    let list = "`registry auth robot list --root data` lists those that there are";
    for command in [
        &["auth", "robot", "delete", "cii"][..],
        &["auth", "robot", "disable", "cii"],
        &["auth", "key", "create", "cii"],
        &["auth", "key", "list", "cii"],
    ] {
        let end = asked(with_data(ROBOT), &[command, &["--root", "data"]].concat());
        assert_eq!(end.status.code(), Some(1), "{command:?} {end:?}");
        let told = format!("there is no robot `cii`; {list}");
        assert!(end.stderr.contains(&told), "{command:?} {end:?}");
    }
    let revoke = ["auth", "key", "revoke", "ci", "abc", "--root", "data"];
    let end = asked(with_data(ROBOT), &revoke);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    let told = "robot$ci has no key of this id; `registry auth key list ci --root data` lists";
    assert!(end.stderr.contains(told), "{end:?}");
}

#[test]
fn what_was_ended_is_said() {
    let delete = ["auth", "robot", "delete", "ci", "--root", "data"];
    let end = asked(with_data(ROBOT), &delete);
    assert_eq!(
        end.stdout,
        "the robot ci was deleted, and its keys are refused\n"
    );
    let end = asked(with_data(ROBOT), &[&delete[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(answer, json!({"name": "ci", "deleted": true}));

    let key = format!(
        "{ROBOT}; \"$0\" auth key create ci --root data >secret; \
         id=$(\"$0\" auth key list ci --root data | cut -f1); set -- \"$@\" \"$id\""
    );
    let revoke = ["auth", "key", "revoke", "--root", "data", "ci"];
    let end = asked(with_data(&key), &revoke);
    assert!(end.stdout.starts_with("a key"), "{end:?}");
    assert!(
        end.stdout.ends_with(" of robot$ci was revoked\n"),
        "{end:?}"
    );
    let revoke = ["auth", "key", "revoke", "--root", "data", "--json", "ci"];
    let end = asked(with_data(&key), &revoke);
    let answer: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(answer["owner"], "robot$ci");
    assert_eq!(answer["revoked"], true);
}

#[test]
fn what_is_switched_off_is_explained_as_refused() {
    let read_only = "version: 0.1\nstorage: {inmemory: {}, maintenance: {readonly: {enabled: \
                     true}}}\nauth: {policy: {path: policy.yml}}\n";
    for (config, who, action, code, words, key) in [
        (
            "config.yml",
            "ann",
            "delete",
            1,
            "(policy.yml:2), but not while deletes are off (`storage.delete.enabled`)\n",
            Some("storage.delete.enabled"),
        ),
        (
            "config.yml",
            "ben",
            "delete",
            1,
            "no rule allows it; and deletes are off (`storage.delete.enabled`)\n",
            Some("storage.delete.enabled"),
        ),
        (
            "readonly.yml",
            "ann",
            "push",
            1,
            "but not while the registry is read-only (`storage.maintenance.readonly.enabled`)\n",
            Some("storage.maintenance.readonly.enabled"),
        ),
        ("readonly.yml", "ann", "pull", 0, "(policy.yml:2)\n", None),
        ("config.yml", "ann", "push", 0, "(policy.yml:2)\n", None),
    ] {
        let question = ["auth", "explain", who, action, "a", "--config", config];
        let setup = || with_data(":").file("readonly.yml", read_only);
        let end = asked(setup(), &question);
        assert_eq!(end.status.code(), Some(code), "{end:?}");
        assert!(end.stdout.contains(words), "{words}: {end:?}");
        let end = asked(setup(), &[&question[..], &["--json"]].concat());
        assert_eq!(end.status.code(), Some(code), "{end:?}");
        let answer: Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(answer["granted"], code == 0, "{answer}");
        assert_eq!(answer["switched_off_by"], json!(key), "{answer}");
    }
}

#[test]
fn a_robot_is_explained_as_its_account_says() {
    const DOUBT: &str = "of its groups, only those given with `--group` count here";
    let create = "\"$0\" auth robot create ci --group web --config config.yml >made";
    let disabled = format!("{create}; \"$0\" auth robot disable ci --root data >stopped");
    let server = ["--config", "config.yml"];
    let data = ["--policy", "policy.yml", "--root", "data"];
    let alone = ["--policy", "policy.yml"];
    let group = ["--policy", "policy.yml", "--group", "web"];
    let memory = ["--config", "memory.yml"];
    let may = "robot$ci may push web/shop because of `group web are writers of web/**`";
    let may_not = "robot$ci may not push web/shop: no rule allows it";
    let stopped = "robot$ci may do nothing: it is disabled\n";
    let missing = "robot$ci may do nothing: there is no such robot\n";
    for (preparation, place, code, words, is_sure) in [
        (create, &server[..], 0, may, true),
        (create, &data, 0, may, true),
        (create, &alone, 1, may_not, false),
        (create, &group, 0, may, false),
        (create, &memory, 1, may_not, false),
        (&disabled, &server, 1, stopped, true),
        (&disabled, &data, 1, stopped, true),
        (":", &server, 1, missing, true),
        (":", &data, 1, missing, true),
    ] {
        let policy = "version: 1\nrules: [group web is writer of web/**]\n";
        let memory = format!("{CONFIGURATION}auth: {{policy: {{path: policy.yml}}}}\n");
        let setup = || {
            with_data(preparation)
                .file("policy.yml", policy)
                .file("memory.yml", &memory)
        };
        let question = ["auth", "explain", "robot$ci", "push", "web/shop"];
        let question = [&question[..], place].concat();
        let end = asked(setup(), &question);
        assert_eq!(end.status.code(), Some(code), "{question:?} {end:?}");
        assert!(end.stdout.starts_with(words), "{question:?} {end:?}");
        assert_eq!(!end.stdout.contains(DOUBT), is_sure, "{question:?} {end:?}");
        let end = asked(setup(), &[&question[..], &["--json"]].concat());
        let answer: Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(answer["granted"], code == 0, "{question:?} {answer}");
    }
}

#[test]
fn a_question_about_a_robot_makes_nothing_where_no_server_was() {
    let question = "\"$0\" auth explain 'robot$ci' push a --config config.yml >told; ls -A data";
    let setup = Setup::after(question)
        .directory("data")
        .file(
            "config.yml",
            format!("{FILES}auth: {{policy: {{path: policy.yml}}}}\n"),
        )
        .file("policy.yml", "version: 1\nrules: [robots may push a]\n");
    let end = asked(setup, &["auth", "check", "policy.yml"]);
    assert!(end.stdout.starts_with("policy.yml"), "{end:?}");
}

#[test]
fn where_there_are_no_rules_that_is_explained() {
    let users = format!("ann:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let logins = format!("{FILES}auth: {{htpasswd: {{realm: r, path: users}}}}\n");
    for (config, words) in [
        (
            "open.yml",
            "ann may push a: there are no rules, so everybody may do everything with content\n",
        ),
        (
            "logins.yml",
            "`users are maintainers of **`, which holds without a policy file\n",
        ),
    ] {
        let setup = with_data(":")
            .file("logins.yml", &logins)
            .file("users", &users);
        let end = asked(
            setup,
            &["auth", "explain", "ann", "push", "a", "--config", config],
        );
        assert_eq!(end.status.code(), Some(0), "{end:?}");
        assert!(end.stdout.ends_with(words), "{end:?}");
    }
}

#[test]
fn a_misspelt_group_is_remarked_on_also_where_a_directory_has_groups() {
    let directory = "auth:\n  policy: {path: policy.yml}\n  ldap: {url: 'ldap://127.0.0.1', \
                     base: b, groupfilter: '(member={dn})'}\n";
    let policy = "version: 1\ngroups: {release: [ann]}\nrules:\n  - group relaese may pull a\n  \
                  - group elsewhere may pull a\n";
    let setup = Setup::new()
        .file("config.yml", format!("{CONFIGURATION}{directory}"))
        .file("policy.yml", policy);
    let end = asked(setup, &["check", "config.yml"]);
    assert_eq!(end.status.code(), Some(0), "{end:?}");
    let told = "policy.yml:4: nobody is in the group `relaese` here; did you mean `release`?";
    assert!(end.stdout.contains(told), "{end:?}");
    assert!(!end.stdout.contains("elsewhere"), "{end:?}");
}

#[test]
fn help_says_which_defaults_hold_without_a_configuration() {
    let end = asked(Setup::new(), &["serve", "--help"]);
    let help = end.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in [
        "without a file 127.0.0.1:5000]",
        "without a file ./registry-data]",
    ] {
        assert!(help.contains(default), "{help}");
    }
}
