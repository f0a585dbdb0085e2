//! Questions and orders about somebody or something that isn't what it looks like.

use registry_tests::harness::silence::PASSWORD;
use serde_json::Value;

use crate::program::{End, Setup};

const KEY: &str = "rgk_0123456789abcdef0123456789abcdef_\
                   Zk3-_aB4567890123456789012345678901234567_89abcdef";

fn asked(more: &str, arguments: &[&str]) -> End {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let file = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
         http: {{addr: '127.0.0.1:0'}}\nauth:\n  htpasswd: {{realm: r, path: users}}\n  \
         policy: {{path: policy.yml}}\n{more}"
    );
    let rules = "version: 1\nrules: [users are readers of **]\n";
    let setup = Setup::new().directory("data").file("config.yml", file);
    let setup = setup.file("users", format!("ann:{hash}\n"));
    setup.file("policy.yml", rules).arguments(arguments).run()
}

#[test]
fn whose_tokens_end_is_said_as_far_as_it_is_known() {
    let revoke = |who: &str, more: &str, place: &[&str]| {
        let end = asked(
            more,
            &[&["auth", "token", "revoke", who][..], place].concat(),
        );
        assert!(end.status.success(), "{end:?}");
        end.stdout
    };
    let (config, root) = (["--config", "config.yml"], ["--root", "data"]);
    let ended = |who: &str, more: &str| {
        format!("all tokens of {who} were ended; no refresh token was among them{more}\n")
    };
    // A user of the password file is no mistake.
    assert_eq!(revoke("ann", "", &config), ended("ann", ""));
    let unknown = revoke("anne", "", &config);
    assert!(
        unknown.contains("; no user is called so in the password file"),
        "{unknown}"
    );
    assert!(
        unknown.contains("only noted") && unknown.contains("check the name"),
        "{unknown}"
    );
    let unseen = revoke("ann", "", &root);
    assert!(
        unseen.contains("isn't seen here") && !unseen.contains("check"),
        "{unseen}"
    );
    // A directory may have her.
    let directory = "  ldap: {url: 'ldap://127.0.0.1', base: b}\n";
    let unseen = revoke("anne", directory, &config);
    assert!(unseen.contains("isn't seen here"), "{unseen}");
    let of_robot = revoke("robot$ci", "", &root);
    assert!(
        of_robot.contains("no such robot") && of_robot.contains("only noted"),
        "{of_robot}"
    );
    let done = revoke("anne", "", &["--config", "config.yml", "--json"]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done["known"], false, "{done}");
}

#[test]
fn whoever_ends_the_tokens_of_a_user_hears_of_the_robot_of_that_name() {
    let setup = Setup::after("\"$0\" auth robot create ci --root data >robot").directory("data");
    let revoke = ["auth", "token", "revoke", "ci", "--root", "data"];
    let end = setup.arguments(&revoke).run();
    assert!(end.status.success(), "{end:?}");
    let namesake = "; there is a robot of this name, whose tokens weren't: write `robot ci`";
    assert!(end.stdout.contains(namesake), "{end:?}");
}

#[test]
fn a_key_in_the_place_of_a_name_is_refused_and_not_shown() {
    let named = format!("user {KEY}");
    for arguments in [
        &["auth", "token", "revoke", KEY, "--root", "data"][..],
        &["auth", "token", "revoke", &named, "--root", "data"],
        &[
            "auth",
            "explain",
            KEY,
            "pull",
            "a",
            "--config",
            "config.yml",
        ],
        &["auth", "key", "list", KEY, "--root", "data"],
        &["auth", "key", "revoke", KEY, "x", "--root", "data"],
        &[
            "auth", "key", "revoke", "ann", KEY, "--user", "--root", "data",
        ],
        &["auth", "robot", "delete", KEY, "--root", "data"],
        &["auth", "robot", "create", KEY, "--root", "data"],
        &[
            "auth",
            "explain",
            "ann",
            "pull",
            KEY,
            "--config",
            "config.yml",
        ],
    ] {
        let end = asked("", arguments);
        assert!(!end.status.success(), "{end:?}");
        assert_eq!(end.stdout, "", "{arguments:?}");
        assert!(!end.stderr.contains("Zk3-_aB4567"), "{end:?}");
    }
    let end = asked("", &["auth", "token", "revoke", KEY, "--root", "data"]);
    assert_eq!(end.status.code(), Some(2));
    assert!(
        end.stderr.contains("nobody's name; name its holder"),
        "{end:?}"
    );
}

#[test]
fn a_place_that_is_no_repository_is_told_how_to_be_one() {
    let digest = format!("team/app@sha256:{}", "0".repeat(64));
    let explain = |place: &str| {
        asked(
            "",
            &[
                "auth",
                "explain",
                "ann",
                "pull",
                place,
                "--config",
                "config.yml",
            ],
        )
    };
    for (place, advice) in [
        (
            digest.as_str(),
            "not digests: what they say of a digest is what they say of its repository; write `team/app`",
        ),
        ("team/app:v1@sha256:00", "write `team/app:v1`"),
        (
            "localhost:5000/team/app:v1",
            "`localhost:5000` is a host, and rules know repositories by their names in the registry; write `team/app:v1`",
        ),
        (
            "https://registry.example.com/team/app",
            "leave out the host, as in `team/app`",
        ),
    ] {
        let end = explain(place);
        assert_eq!(end.status.code(), Some(2), "{end:?}");
        assert!(end.stderr.contains(advice), "{end:?}");
    }
    // A repository may be called so.
    let end = explain("registry.example.com/team/app");
    assert_eq!(end.status.code(), Some(0), "{end:?}");
    assert!(
        end.stdout
            .contains("`registry.example.com` is taken for a part of the repository's name"),
        "{end:?}"
    );
    let end = explain("team/app:v1");
    assert!(end.stdout.ends_with("(policy.yml:2)\n"), "{end:?}");
}
