//! What isn't wrong, but may not be meant.

use crate::program::Setup;
use registry_tests::harness::silence::PASSWORD;

const POLICY: &str = "\
version: 1
groups: {web: [anm, robot ci], ops: [zoe]}
disabled: [user evee]
rules:
  - user an is reader of **
  - user ann is admin of team/**
  - rule: user ann may pull a
    until: 2020-01-01T00:00:00Z
  - user ann is admin of **
  - group web are readers of **
";

fn checked(auth: &str, prepare: &str) -> Vec<String> {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let file = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
         http: {{addr: '127.0.0.1:0'}}\nauth:\n{auth}"
    );
    let end = Setup::after(&format!("umask 077; {prepare}"))
        .directory("sub/dir")
        .directory("data/auth/keys")
        .file("config.yml", file)
        .file("users", format!("ann:{hash}\neve:{hash}\n"))
        .file("secret", "a secret that is long enough to be one")
        .file("sub/dir/policy.yml", POLICY)
        .file("data/auth/keys/1.pem", "a key")
        .arguments(&["check", "config.yml"])
        .run();
    assert!(end.status.success(), "{end:?}");
    assert!(
        end.stdout.ends_with("config.yml: nothing is wrong\n"),
        "{end:?}"
    );
    let lines = end.stdout.lines().map(str::to_owned);
    lines.filter(|line| line.ends_with(" (a remark)")).collect()
}

const FILES: &str = "  htpasswd: {realm: r, path: users}\n  policy: {path: sub/dir/policy.yml}\n";
const QUIET: &str = "chmod 600 users secret data/auth/keys/1.pem";

#[test]
fn names_that_nobody_has_but_for_a_letter_are_remarked_on() {
    let remarks = checked(FILES, QUIET);
    let expected = [
        ("2", "`anm`", "did you mean `ann`?"),
        ("3", "`evee`", "did you mean `eve`?"),
        ("5", "`an`", "did you mean `ann`?"),
    ];
    let of_names: Vec<_> = remarks
        .iter()
        .filter(|line| line.contains("nobody can log in as"))
        .collect();
    assert_eq!(of_names.len(), expected.len(), "{remarks:#?}");
    for ((line, name, advice), remark) in expected.iter().zip(of_names) {
        // The file is called as the configuration calls it.
        let place = format!("sub/dir/policy.yml:{line}: ");
        assert!(remark.starts_with(&place), "{remark}");
        assert!(remark.contains(name) && remark.contains(advice), "{remark}");
    }
    // Others may know more users.
    let directory = "  ldap: {url: 'ldap://127.0.0.1', base: b}\n";
    let remarks = checked(&format!("{FILES}{directory}"), QUIET);
    let is_of_name = |line: &String| line.contains("nobody can log in as");
    assert!(!remarks.iter().any(is_of_name), "{remarks:#?}");
}

#[test]
fn rules_that_are_over_or_administer_a_part_are_remarked_on() {
    let check = Setup::new().directory("sub/dir");
    let end = check
        .file("sub/dir/policy.yml", POLICY)
        .arguments(&["auth", "check", "sub/dir/policy.yml"])
        .run();
    assert!(end.status.success(), "{end:?}");
    let lines: Vec<_> = end.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let part = "sub/dir/policy.yml:6: this lets somebody delete these repositories as a whole, but";
    assert!(lines[0].starts_with(part), "{lines:#?}");
    let over = "sub/dir/policy.yml:7: the time in `until` is over";
    assert!(lines[1].starts_with(over), "{lines:#?}");
}

#[test]
fn files_of_secrets_that_others_may_read_are_remarked_on() {
    let webhook = "  webhook: {url: 'http://127.0.0.1:1/', secretfile: secret}\n";
    let auth = format!("{FILES}{webhook}");
    let is_of_file = |line: &&String| line.contains("chmod 600");
    let remarks = checked(&auth, QUIET);
    assert_eq!(remarks.iter().find(is_of_file), None);
    let remarks = checked(&auth, "chmod 644 users secret data/auth/keys/1.pem");
    let remarks: Vec<_> = remarks.iter().filter(is_of_file).collect();
    for (remark, start) in remarks.iter().zip([
        "config.yml:5: others may read or change the password file",
        "config.yml:7: others may read or change the secret of the webhook",
        "data/auth/keys/1.pem: others may read or change this key, which signs tokens",
    ]) {
        assert!(remark.starts_with(start), "{remark}");
    }
    assert_eq!(remarks.len(), 3, "{remarks:#?}");

    let remarks = checked(
        &auth,
        &format!("{QUIET}; chmod 602 users; chmod 646 sub/dir/policy.yml"),
    );
    let remarks = remarks.iter().filter(|line| line.contains("chmod"));
    let remarks: Vec<_> = remarks.collect();
    assert!(remarks[0].contains("others may read or change the password file"));
    assert!(remarks[1].contains("others may change the rules"));
    assert_eq!(remarks.len(), 2, "{remarks:#?}");
}

#[test]
fn a_policy_file_is_called_as_whoever_names_it_by_every_command() {
    let config = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\nauth:\n  \
                  policy: {path: sub/dir/policy.yml}\n";
    let said = "sub/dir/policy.yml:3: there is no role `readrs`";
    for (command, before) in [
        ("auth check sub/dir/policy.yml", ""),
        (
            "auth explain ann pull a --policy sub/dir/policy.yml",
            "registry: ",
        ),
        (
            "auth explain ann pull a --config config.yml",
            "config.yml:5: ",
        ),
        ("check config.yml", "config.yml:5: "),
        ("serve config.yml", "config.yml:5: "),
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let setup = Setup::new().directory("sub/dir").file("config.yml", config);
        let rules = "version: 1\nrules:\n  - users are readrs of **\n";
        let end = setup.file("sub/dir/policy.yml", rules);
        let end = end.arguments(&arguments).run();
        assert_eq!(end.status.code(), Some(2), "{command} {end:?}");
        let told = format!("{}{}", end.stdout, end.stderr);
        assert!(
            told.starts_with(&format!("{before}{said}")),
            "{command} {told}"
        );
    }
}
