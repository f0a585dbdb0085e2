//! One story for each hole that some registry had. The names begin as the threats
//! are numbered in `docs/promises.md`.

use crate::exchange::Answer;
use crate::model::{self, may};
use crate::principals::{EVERYBODY, basic, user};
use crate::routes::{Needs, ROUTES};
use crate::spellings::spellings;
use crate::world::{Logins, World, bearer, content, digest};

/// What a mount may say of its source, which is the vault if it is anything.
fn sources() -> Vec<String> {
    let mut sources = vec![
        String::new(),
        "&from=".to_owned(),
        "&from=vault/there/".to_owned(),
        "&from=/vault/there".to_owned(),
        "&from=vault/there&from=vault/there".to_owned(),
        "&from=open/there&from=vault/there".to_owned(),
        "&from=vault/there&from=open/there".to_owned(),
        "&from=secret/there".to_owned(),
        "&from=secret/there/../../vault/there".to_owned(),
        "&from=vault%252fthere".to_owned(),
        "&from=vault%2fthere%00".to_owned(),
        "&FROM=vault/there".to_owned(),
        "&from=+vault/there".to_owned(),
        "&from=Vault/there".to_owned(),
        "&from=vault/there@".to_owned() + &digest("hidden"),
        "&from=vault/there:latest".to_owned(),
    ];
    let spelled = spellings("vault/there").into_iter();
    sources.extend(spelled.map(|spelling| format!("&from={}", spelling.text)));
    sources
}

/// Who may push and not pull doesn't learn what a tag points to.
#[tokio::test]
async fn a_condition_is_no_oracle() {
    let world = World::new(Logins::Passwords).await;
    let (right, wrong) = (digest("image"), digest("other"));
    for reference in ["latest", "none", &digest("other")] {
        let path = format!("/v2/secret/there/manifests/{reference}");
        let mut answers = Vec::new();
        for condition in [
            format!("if-match: \"{right}\""),
            format!("if-match: \"{wrong}\""),
            format!("if-match: \"{right}\", \"{wrong}\""),
            format!("if-none-match: \"{right}\""),
            format!("if-none-match: \"{wrong}\""),
            "if-match: *".to_owned(),
        ] {
            let mut headers = user("dropper");
            headers.push(condition);
            let answer = world.send("PUT", &path, &headers, "other").await;
            assert!(!answer.was_read, "{headers:?}");
            answers.push(answer);
        }
        assert_eq!(answers[0].status, 403);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    // That nothing is there shows by pushing anyway.
    for (tag, status) in [("latest", 412), ("none", 201)] {
        let mut headers = user("dropper");
        headers.push("if-none-match: *".to_owned());
        let path = format!("/v2/secret/there/manifests/{tag}");
        let answer = world.send("PUT", &path, &headers, "other").await;
        assert_eq!(answer.status, status, "{tag}");
    }
    // Who pulls knows already.
    for (condition, status) in [(wrong, 412), (right, 201)] {
        let mut headers = user("writer");
        headers.push(format!("if-match: \"{condition}\""));
        let path = "/v2/secret/there/manifests/latest";
        let answer = world.send("PUT", path, &headers, "other").await;
        assert_eq!(answer.status, status, "{condition}");
    }
}

#[tokio::test]
async fn s_02_mounts_in_every_spelling() {
    let mut world = World::new(Logins::Passwords).await;
    let hidden = digest("hidden");
    let there = format!("/v2/secret/there/blobs/{hidden}");
    for who in ["dropper", "writer"] {
        for source in sources() {
            let path = format!("/v2/secret/there/blobs/uploads/?mount={hidden}{source}");
            let answer = world.send("POST", &path, &user(who), "").await;
            assert_eq!(answer.status, 202, "{who} {source}");
            let answer = world.send("HEAD", &there, &user("root"), "").await;
            assert_eq!(answer.status, 404, "{who} {source}");
            // It pushes elsewhere, and not here.
            let path = path.replace("secret/there", "kept/there");
            let answer = world.send("POST", &path, &user("dropper"), "").await;
            assert_eq!(answer.status, 403, "{source}");
        }
    }
    for source in ["&from=vault/there", "&from=%76ault%2Fthere", ""] {
        let path = format!("/v2/secret/there/blobs/uploads/?mount={hidden}{source}");
        let answer = world.send("POST", &path, &user("root"), "").await;
        assert_eq!(answer.status, 201, "{source}");
        world = World::new(Logins::Passwords).await;
    }
}

#[tokio::test]
async fn s_03_a_digest_is_no_key() {
    let world = World::new(Logins::Passwords).await;
    let writer = user("writer");
    let hidden = digest("hidden");
    let blob = format!("/v2/secret/there/blobs/{hidden}");
    let state = world.state().await;
    for (method, header) in [
        ("HEAD", ""),
        ("GET", ""),
        ("GET", "range: bytes=0-0"),
        ("GET", "range: bytes=0-0,1-1"),
        ("GET", "if-none-match: *"),
        ("HEAD", "if-none-match: *"),
        ("GET", "if-match: *"),
        ("DELETE", ""),
    ] {
        let who = if method == "DELETE" {
            user("cleaner")
        } else {
            writer.clone()
        };
        let header = (!header.is_empty()).then(|| header.to_owned());
        let headers: Vec<_> = who.into_iter().chain(header).collect();
        let answer = world.send(method, &blob, &headers, "").await;
        assert_eq!(answer.status, 404, "{method} {headers:?}");
    }
    assert_eq!(world.state().await, state);
    // It is known, and not theirs: neither for nothing nor for a reference.
    let upload = world.upload("secret/there", "writer");
    let finish = format!("/v2/secret/there/blobs/uploads/{upload}?digest={hidden}");
    let answer = world.send("PUT", &finish, &writer, "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let push = format!("/v2/secret/there/blobs/uploads/?digest={hidden}");
    let answer = world.send("POST", &push, &writer, "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = world
        .send("PUT", "/v2/secret/there/manifests/x", &writer, "refers")
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = world.send("HEAD", &blob, &writer, "").await;
    assert_eq!(answer.status, 404);

    // Who has the bytes gets in, and doesn't learn that others have them.
    let unlike = |answer: Answer, what: &str| answer.without(&[&digest(what)]);
    let known = world.send("POST", &push, &writer, "hidden").await;
    let push = format!("/v2/secret/there/blobs/uploads/?digest={}", digest("new"));
    let new = world.send("POST", &push, &writer, "new").await;
    assert_eq!(known.status, 201);
    assert_eq!(unlike(known, "hidden"), unlike(new, "new"));
    let answer = world.send("GET", &blob, &writer, "").await;
    assert_eq!(answer.body, "hidden");
}

#[tokio::test]
async fn s_04_create_only_moves_no_tag_by_any_path() {
    let world = World::new(Logins::Passwords).await;
    // Whoever creates it may not move it afterwards: a tag of an image, beside those of
    // an index.
    let path = "/v2/secret/there/manifests/plain";
    let answer = world.send("PUT", path, &user("creator"), "plain").await;
    assert_eq!(answer.status, 201);
    let state = world.state().await;
    let image = digest("image");
    let tags = |tags: &[&str]| {
        let tags: Vec<_> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        tags.join("&")
    };
    let mut paths = Vec::new();
    // An image or another index in place of an index, and an index in place of an image.
    for (pushed, moved) in [("plain", "latest"), ("other", "latest"), ("other", "plain")] {
        let encoded = format!("%{:02x}{}", moved.as_bytes()[0], &moved[1..]);
        for tag in [moved, "v1", "keep", &encoded] {
            paths.push((pushed, tag.to_owned()));
        }
        for named in [
            &[moved][..],
            &["v1"],
            &[&encoded],
            &["new", moved],
            &[moved, "new"],
            &["new", "newer", "newest", "v1"],
            &[moved, moved],
            &["v1", moved, "keep"],
        ] {
            paths.push((pushed, format!("{}?{}", digest(pushed), tags(named))));
        }
    }
    for (pushed, path) in paths {
        for condition in [
            None,
            Some(format!("if-match: \"{image}\"")),
            Some("if-match: *".to_owned()),
            Some(format!("if-none-match: \"{}\"", digest(pushed))),
        ] {
            // A condition that doesn't hold says so to whoever pulls.
            let may_be_unmet = condition.is_some();
            let headers: Vec<_> = user("creator").into_iter().chain(condition).collect();
            let path = format!("/v2/secret/there/manifests/{path}");
            let answer = world.send("PUT", &path, &headers, pushed).await;
            let status = answer.status.as_u16();
            let refused = status == 403 || may_be_unmet && status == 412;
            assert!(refused, "{path} {headers:?}: {answer:?}");
            assert_eq!(world.state().await, state, "{path} {headers:?}");
        }
    }
    for path in ["latest", "v1", "plain", &image] {
        let path = format!("/v2/secret/there/manifests/{path}");
        let answer = world.send("DELETE", &path, &user("creator"), "").await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(world.state().await, state);
    }
    let other = digest("other");
    let path = format!("/v2/secret/there/manifests/{other}?tag=new&tag=newer");
    let answer = world.send("PUT", &path, &user("creator"), "other").await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn s_05_deletes_off_is_405_everywhere() {
    for logins in [Logins::Passwords, Logins::Tokens] {
        let mut world = World::new(logins).await;
        world.service = world.service.clone().deletes(false);
        let state = world.state().await;
        let (image, blob) = (digest("image"), digest("blob"));
        let scopes = ["open/there", "secret/there", "secret/never"]
            .map(|name| format!("repository:{name}:*"));
        let root = match logins {
            Logins::Passwords => user("root"),
            Logins::Tokens => bearer(&world.service, &user("root"), &scopes).await,
        };
        for name in ["open/there", "secret/there", "secret/never"] {
            let spelled = spellings(name).into_iter();
            let spelled = spelled.filter(|spelling| spelling.is_same);
            for name in spelled
                .map(|spelling| spelling.text)
                .chain([name.to_owned()])
            {
                for what in [
                    "manifests/v1".to_owned(),
                    "manifests/latest".to_owned(),
                    "manifests/%6catest".to_owned(),
                    "manifests/none".to_owned(),
                    format!("manifests/{image}"),
                    format!("manifests/{image}?tag=v1"),
                    "manifests/v1?force=true&purge=1".to_owned(),
                    "manifests/v1?_method=DELETE".to_owned(),
                    format!("blobs/{blob}"),
                    format!("blobs/{blob}?digest={blob}"),
                ] {
                    let path = format!("/v2/{name}/{what}");
                    for header in ["x-other: 1".to_owned(), format!("if-match: \"{image}\"")] {
                        let headers: Vec<_> = root.iter().cloned().chain([header]).collect();
                        let answer = world.send("DELETE", &path, &headers, "").await;
                        assert_eq!(answer.status, 405, "{path}");
                        assert!(answer.body.contains("UNSUPPORTED"), "{path}: {answer:?}");
                        assert_eq!(world.state().await, state, "{path}");
                    }
                }
                // With more behind it, it is no path of anything.
                for what in [
                    "manifests/v1/",
                    "manifests/v1//",
                    "manifests//v1",
                    "manifests/",
                ] {
                    let path = format!("/v2/{name}/{what}");
                    let answer = world.send("DELETE", &path, &root, "").await;
                    let status = answer.status.as_u16();
                    assert!([400, 404].contains(&status), "{path}: {answer:?}");
                    assert_eq!(world.state().await, state, "{path}");
                }
                // Nor by another method that means one.
                for header in [
                    "x-http-method-override: DELETE",
                    "x-method-override: DELETE",
                ] {
                    let path = format!("/v2/{name}/manifests/v1");
                    let headers: Vec<_> = root.iter().cloned().chain([header.to_owned()]).collect();
                    for method in ["POST", "GET"] {
                        world.send(method, &path, &headers, "").await;
                        assert_eq!(world.state().await, state, "{method} {path}");
                    }
                }
            }
        }
        // To give an upload up is part of pushing.
        let upload = world.upload("secret/there", "root");
        let path = format!("/v2/secret/there/blobs/uploads/{upload}");
        let answer = world.send("DELETE", &path, &root, "").await;
        assert_eq!(answer.status, 204);
    }
}

#[tokio::test]
async fn s_06_a_protected_tag_survives_every_way_to_delete() {
    let world = World::new(Logins::Passwords).await;
    let state = world.state().await;
    let (image, other, blob) = (digest("image"), digest("other"), digest("blob"));
    for who in ["root", "cleaner", "writer"] {
        for (method, what) in [
            ("DELETE", "manifests/keep".to_owned()),
            ("DELETE", "manifests/%6beep".to_owned()),
            ("DELETE", format!("manifests/{image}")),
            ("DELETE", format!("blobs/{blob}")),
            ("PUT", "manifests/keep".to_owned()),
            ("PUT", format!("manifests/{other}?tag=keep")),
            ("PUT", format!("manifests/{other}?tag=new&tag=keep")),
            ("PUT", format!("manifests/{other}?tag=keep&tag=v1")),
        ] {
            let path = format!("/v2/kept/there/{what}");
            let body = if method == "PUT" { "other" } else { "" };
            let answer = world.send(method, &path, &user(who), body).await;
            assert_eq!(answer.status, 403, "{who} {method} {path}");
            assert_eq!(world.state().await, state, "{who} {method} {path}");
        }
    }
    let path = "/v2/kept/there/manifests/keep";
    let answer = world.send("GET", path, &user("reader"), "").await;
    assert_eq!(answer.body.as_bytes(), content("image"));
    // What isn't protected goes.
    let path = "/v2/kept/there/manifests/v1";
    let answer = world.send("DELETE", path, &user("cleaner"), "").await;
    assert_eq!(answer.status, 202);
    // An index that names it goes without it.
    let parent = "/v2/kept/there/manifests/parent";
    let answer = world.send("PUT", parent, &user("writer"), "parent").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let by_digest = format!("/v2/kept/there/manifests/{}", digest("parent"));
    for who in ["root", "cleaner"] {
        // A tag of it could be protected.
        let answer = world.send("DELETE", &by_digest, &user(who), "").await;
        assert_eq!(answer.status, 403, "{who}");
    }
    let answer = world.send("DELETE", parent, &user("cleaner"), "").await;
    assert_eq!(answer.status, 202);
    for what in ["keep", &image] {
        let path = format!("/v2/kept/there/manifests/{what}");
        let answer = world.send("GET", &path, &user("reader"), "").await;
        assert_eq!(answer.body.as_bytes(), content("image"), "{what}");
    }
    // Where nothing is protected, also by its digest.
    let parent = "/v2/secret/there/manifests/parent";
    let answer = world.send("PUT", parent, &user("writer"), "parent").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let by_digest = format!("/v2/secret/there/manifests/{}", digest("parent"));
    let answer = world.send("DELETE", &by_digest, &user("cleaner"), "").await;
    assert_eq!(answer.status, 202);
    for what in ["keep", &image] {
        let path = format!("/v2/secret/there/manifests/{what}");
        let answer = world.send("GET", &path, &user("reader"), "").await;
        assert_eq!(answer.body.as_bytes(), content("image"), "{what}");
    }
}

#[tokio::test]
async fn s_07_an_upload_is_of_its_repository() {
    let world = World::new(Logins::Passwords).await;
    let upload = world.upload("secret/there", "writer");
    let state = world.state().await;
    let whole = digest("whole");
    // Who pushes elsewhere, and who pushes here too, by another name.
    for (who, name, status) in [
        ("stranger", "secret/there", 403),
        ("reader", "secret/there", 403),
        ("cleaner", "secret/there", 403),
        ("stranger", "elsewhere/there", 404),
        ("stranger", "elsewhere/none", 404),
        ("writer", "secret/again", 404),
        ("writer", "secret/never", 404),
        ("writer", "kept/there", 404),
        ("root", "open/there", 404),
        ("writer", "secret/there/../there", 400),
        ("writer", "secret/again/../there", 400),
    ] {
        for (method, query, body) in [
            ("GET", String::new(), ""),
            ("HEAD", String::new(), ""),
            ("PATCH", String::new(), "more"),
            ("PUT", format!("?digest={whole}"), "more"),
            ("DELETE", String::new(), ""),
        ] {
            let path = format!("/v2/{name}/blobs/uploads/{upload}{query}");
            let answer = world.send(method, &path, &user(who), body).await;
            assert_eq!(answer.status, status, "{who} {method} {name}");
            assert_eq!(world.state().await, state, "{who} {method} {name}");
        }
    }
    let path = format!("/v2/secret/there/blobs/uploads/{upload}?digest={whole}");
    let answer = world.send("PUT", &path, &user("writer"), "more").await;
    assert_eq!(answer.status, 201);
}

/// Whoever pushes there, and whoever may do everything, are told what they are told
/// of an upload that never was.
#[tokio::test]
async fn s_07_an_upload_is_of_who_began_it() {
    for logins in [Logins::Passwords, Logins::Tokens] {
        let world = World::new(logins).await;
        let (upload, never) = (
            world.upload("secret/there", "writer").to_string(),
            world.upload("secret/never", "writer").to_string(),
        );
        let state = world.state().await;
        let whole = digest("whole");
        for who in ["root", "member", "creator", "dropper"] {
            let scope = "repository:secret/there:pull,push,delete".to_owned();
            let headers = match logins {
                Logins::Passwords => user(who),
                Logins::Tokens => bearer(&world.service, &user(who), &[scope]).await,
            };
            for (method, query, range, body) in [
                ("GET", String::new(), "", ""),
                ("HEAD", String::new(), "", ""),
                ("PATCH", String::new(), "", "more"),
                ("PATCH", String::new(), "4-7", "more"),
                ("PATCH", String::new(), "5-8", "more"),
                ("PUT", format!("?digest={whole}"), "", "more"),
                ("PUT", format!("?digest={whole}"), "5-8", "more"),
                ("PUT", format!("?digest={}", digest("some")), "", ""),
                ("PUT", format!("?digest={}", digest("new")), "", ""),
                ("DELETE", String::new(), "", ""),
            ] {
                let mut headers = headers.clone();
                if !range.is_empty() {
                    headers.push(format!("content-range: {range}"));
                }
                let mut answers = Vec::new();
                for id in [&upload, &never] {
                    let path = format!("/v2/secret/there/blobs/uploads/{id}{query}");
                    let answer = world.send(method, &path, &headers, body).await;
                    assert_eq!(answer.status, 404, "{who} {method} {range}");
                    assert!(!answer.was_read, "{who} {method} {range}");
                    answers.push(answer.without(&[id]));
                }
                assert_eq!(answers[0], answers[1], "{who} {method} {range}");
                assert_eq!(world.state().await, state, "{who} {method} {range}");
            }
        }
        let path = format!("/v2/secret/there/blobs/uploads/{upload}?digest={whole}");
        let range = "content-range: 4-7".to_owned();
        let headers: Vec<_> = user("writer").into_iter().chain([range]).collect();
        let answer = world.send("PUT", &path, &headers, "more").await;
        assert_eq!(answer.status, 201);
    }
}

/// The headers of somebody who may do everything, as far as `scope` goes.
async fn limited(world: &World, scope: &str) -> Vec<String> {
    bearer(&world.service, &user("root"), &[scope.to_owned()]).await
}

#[tokio::test]
async fn s_08_a_pull_token_uploads_nothing() {
    let world = World::new(Logins::Tokens).await;
    let state = world.state().await;
    let scope = "repository:secret/there:pull%20repository:vault/there:pull,push,delete";
    let headers = limited(&world, scope).await;
    for (_, routes) in ROUTES {
        for route in *routes {
            let uploads = route.path.contains("/blobs/uploads");
            if !uploads && !["PUT", "DELETE"].contains(&route.method) {
                continue;
            }
            let path = world.path(route.path, "root", "secret/there", "secret/there");
            let headers = headers.iter().cloned();
            let more = route.headers.iter().map(|header| (*header).to_owned());
            let headers: Vec<_> = headers.chain(more).collect();
            let answer = world.send(route.method, &path, &headers, route.body).await;
            let status = answer.status.as_u16();
            assert!([401, 403].contains(&status), "{route:?}: {answer:?}");
            assert!(!answer.was_read, "{route:?}");
            assert_eq!(world.state().await, state, "{route:?}");
        }
    }
}

/// Each subset of what a token can say, in the right repository and in another
/// one, for each route: the action that it is about is needed, and enough.
#[tokio::test]
async fn s_09_scope_subset_by_verb() {
    let mut world = World::new(Logins::Tokens).await;
    let mut state = world.state().await;
    let root = EVERYBODY.iter().find(|somebody| somebody.name == "root");
    let root = root.unwrap();
    let words = ["pull", "push", "delete"];
    let mut cases = 0;
    for subset in 0..8_u8 {
        let held: Vec<_> = words
            .iter()
            .enumerate()
            .filter(|(at, _)| subset >> at & 1 == 1)
            .map(|(_, word)| *word)
            .collect();
        for about in ["secret/there", "secret/again", "secret"] {
            let scope = format!("repository:{about}:{}", held.join(","));
            let mut shown = limited(&world, &scope).await;
            for (_, routes) in ROUTES {
                for route in *routes {
                    let action = match route.needs {
                        Needs::In { action, .. } => action,
                        Needs::Move { .. } | Needs::Mount { .. } => "push",
                        Needs::Whole => "administer",
                        _ => continue,
                    };
                    let path = world.path(route.path, "root", "secret/there", "secret/there");
                    let more = route.headers.iter().map(|header| (*header).to_owned());
                    let headers: Vec<_> = shown.iter().cloned().chain(more).collect();
                    let answer = world.send(route.method, &path, &headers, route.body).await;
                    let status = answer.status.as_u16();
                    let asked = if action == "list" { "pull" } else { action };
                    let covered = about == "secret/there" && held.contains(&asked);
                    let expected =
                        model::expected(route, root, "secret/there", Logins::Passwords).status;
                    let right = if !covered {
                        [401, 403].contains(&status)
                    } else if let Needs::Mount { from, content } = route.needs {
                        // Its source has to be covered, too; this one is.
                        let own = content == "blob" && from != "open/there";
                        let may_be_found = own && held.contains(&"pull");
                        status != 201 || may_be_found && status == expected
                    } else {
                        status == expected
                    };
                    assert!(right, "{held:?} of {about}: {route:?}: {answer:?}");
                    if world.state().await != state {
                        assert!(covered, "{held:?} of {about}: {route:?}");
                        world = World::new(Logins::Tokens).await;
                        state = world.state().await;
                        // Its own tokens only.
                        shown = limited(&world, &scope).await;
                    }
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 1_000, "{cases}");
}

/// The model says what the rules say, which nobody else compares here.
#[test]
fn the_model_knows_the_rules() {
    for (who, action, repository, tags, expected) in [
        ("", "pull", "open/there", &[][..], true),
        ("", "push", "open/there", &[], false),
        ("tagger", "push", "secret/there", &["v1"], true),
        ("tagger", "push", "secret/there", &["v1", "latest"], false),
        ("root", "delete", "kept/there", &["v1"], true),
        ("root", "delete", "kept/there", &["v1", "keep"], false),
        ("root", "delete", "kept/there", &[], false),
        ("banned", "pull", "secret/there", &[], false),
        ("banned", "list", "secret/there", &[], false),
        ("puller", "list", "secret/there", &[], true),
        ("unlisted", "pull", "secret/there", &[], true),
        ("unlisted", "list", "secret/there", &[], false),
        ("ci", "pull", "secret/there", &[], false),
    ] {
        assert_eq!(
            may(who, action, repository, tags),
            expected,
            "{who} {action}"
        );
    }
}

/// A token says what it covers in the one place where it belongs, and is nothing
/// anywhere else: not a password, not a user, no part of an address, no cookie.
#[tokio::test]
async fn s_18_one_token_however_sent() {
    let world = World::new(Logins::Tokens).await;
    let header = limited(&world, "repository:secret/there:pull").await;
    let token = header[0].rsplit(' ').next().unwrap().to_owned();
    let pull = "/v2/secret/there/manifests/v1";
    let push = "/v2/secret/there/manifests/new";
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let headers = [format!("authorization: {scheme} {token}")];
        assert_eq!(world.send("GET", pull, &headers, "").await.status, 200);
        let refused = world.send("PUT", push, &headers, "other").await;
        assert_eq!(refused.status, 401, "{scheme}");
    }
    let elsewhere = [
        basic("root", &token),
        basic(&token, ""),
        basic(&token, "x-oauth-basic"),
        basic("token", &token),
        basic("<token>", &token),
        basic("", &token),
        format!("authorization: {token}"),
        format!("authorization: Token {token}"),
        format!("authorization: Bearer  {token} {token}"),
        format!("authorization: Bearer {token},Bearer {token}"),
        format!("proxy-authorization: Bearer {token}"),
        format!("x-authorization: Bearer {token}"),
        format!("cookie: token={token}; access_token={token}"),
        format!("x-registry-auth: {token}"),
    ];
    for header in elsewhere {
        let headers = [header.clone()];
        assert_eq!(
            world.send("GET", pull, &headers, "").await.status,
            401,
            "{header}"
        );
        // Nor is it more than nothing.
        let open = "/v2/open/there/manifests/v1";
        let status = world.send("GET", open, &headers, "").await.status.as_u16();
        let is_credential = header.starts_with("authorization:");
        assert_eq!(status, if is_credential { 401 } else { 200 }, "{header}");
    }
    for query in ["token", "access_token", "Authorization"] {
        let path = format!("{pull}?{query}={token}");
        assert_eq!(
            world.send("GET", &path, &[], "").await.status,
            401,
            "{query}"
        );
    }
    // Two that say different things are none.
    let both = [header[0].clone(), basic("root", "right")];
    assert_eq!(world.send("PUT", push, &both, "other").await.status, 401);
    let both = [basic("root", "right"), header[0].clone()];
    assert_eq!(world.send("PUT", push, &both, "other").await.status, 401);
}

/// What was deleted here is not back because somebody else still has it, and asks
/// for it.
#[tokio::test]
async fn s_30_what_was_deleted_is_not_back_while_others_have_it() {
    let world = World::new(Logins::Passwords).await;
    let blob = digest("blob");
    let (root, writer) = (user("root"), user("writer"));
    let there = format!("/v2/secret/there/blobs/{blob}");
    let elsewhere = format!("/v2/kept/there/blobs/{blob}");
    let ask = async |method: &str, path: &str, headers: &[String]| {
        world.send(method, path, headers, "").await.status.as_u16()
    };
    assert_eq!(ask("GET", &there, &writer).await, 200);
    assert_eq!(ask("DELETE", &there, &root).await, 202);
    for _ in 0..2 {
        for (method, headers) in [("HEAD", &writer), ("GET", &writer), ("GET", &root)] {
            assert_eq!(ask(method, &there, headers).await, 404, "{method}");
            // Others fill whatever caches there are.
            assert_eq!(ask(method, &elsewhere, headers).await, 200, "{method}");
            assert_eq!(ask(method, &there, headers).await, 404, "{method}");
        }
        let mut part = writer.clone();
        part.push("range: bytes=0-0".to_owned());
        assert_eq!(ask("GET", &elsewhere, &part).await, 206);
        assert_eq!(ask("GET", &there, &part).await, 404);
        let mut condition = writer.clone();
        condition.push("if-none-match: *".to_owned());
        assert_eq!(ask("GET", &there, &condition).await, 404);
        let mount = format!("/v2/secret/again/blobs/uploads/?mount={blob}&from=secret/there");
        assert_eq!(ask("POST", &mount, &writer).await, 202);
    }
    // Who pushes it has it again.
    world.put_blob("secret/there", "blob").await;
    assert_eq!(ask("GET", &there, &writer).await, 200);
}
