//! Jobs as the usual issuers describe them: the claims, headers and times that GitHub
//! Actions, GitLab CI and Kubernetes document and write, with the names changed.
#![cfg(feature = "workload")]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod issuers;
#[path = "common/sender.rs"]
mod sender;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use registry_auth::jwt::{KeySet, VerificationKey};
use registry_auth::{AccessControl, Rules, Sender, Workload};
use registry_core::{ErrorKind, Operation, RequestOrigin};
use serde_json::{Value, json};

use crate::issuers::{NOW, Time, Web};
use crate::sender::{basic, headers};

const KEYS: &str = "https://keys.example/jwks";
const AUDIENCE: &str = "registry.example.com";

/// What an issuer writes.
struct Written {
    issuer: &'static str,
    header: Value,
    claims: Value,
    name: &'static str,
    /// Conditions that hold, and others that don't.
    holds: &'static [&'static str],
    fails: &'static [&'static str],
}

/// All values are text, truth values and numbers, too; the token is valid from some
/// minutes before it is given out.
/// <https://docs.github.com/en/actions/reference/security/oidc>
fn github() -> Written {
    Written {
        issuer: Workload::GITHUB,
        header: json!({"typ": "JWT", "alg": "RS256", "x5t": "eBQ4CNaFyQN8KjDt", "kid": "a"}),
        claims: json!({
            "jti": "4a576b35-ff09-41c5-af2c-ca62dd89b76a",
            "sub": "repo:octo-org/octo-repo:environment:prod",
            "aud": AUDIENCE,
            "iss": Workload::GITHUB,
            "nbf": NOW - 300, "iat": NOW, "exp": NOW + 21_600,
            "actor": "octocat", "actor_id": "12",
            "base_ref": "", "head_ref": "",
            "check_run_id": "4711",
            "enterprise": "octo", "enterprise_id": "11468",
            "environment": "prod", "environment_node_id": "EN_kwDOAA",
            "event_name": "workflow_dispatch",
            "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
            "job_workflow_sha": "7f93a73b8273af5d35fcd70661704c1cadc57054",
            "ref": "refs/heads/main", "ref_protected": "true", "ref_type": "branch",
            "repository": "octo-org/octo-repo", "repository_id": "74",
            "repository_owner": "octo-org", "repository_owner_id": "65",
            "repository_visibility": "private",
            "run_attempt": "2", "run_id": "1234567890", "run_number": "10",
            "runner_environment": "github-hosted",
            "sha": "ad4bf5c6a1b1d29bf0a6a5ae9db93d7e4cf29d5a",
            "workflow": "example-workflow",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/example.yml@refs/heads/main",
            "workflow_sha": "ad4bf5c6a1b1d29bf0a6a5ae9db93d7e4cf29d5a",
        }),
        name: "ci:repo:octo-org/octo-repo:environment:prod",
        holds: &[
            "repository=octo-org/octo-repo ref=refs/heads/main",
            "repository_owner_id=65 repository_id=74",
            "sub=repo:octo-org/octo-repo:environment:*",
            "environment=prod ref_protected=true",
            "event_name=workflow_dispatch runner_environment=github-hosted",
            "job_workflow_ref=octo-org/octo-automation/.github/workflows/*@refs/heads/main",
        ],
        fails: &[
            "repository=octo-org/octo-repo ref=refs/heads/other",
            "repository=octo-org/octo",
            "repository_owner=octo",
            "ref_protected=false",
            "base_ref=main",
            "event_name=pull_request",
        ],
    }
}

/// Numbers are text, except that of the runner.
/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
fn gitlab() -> Written {
    Written {
        issuer: Workload::GITLAB,
        header: json!({"kid": "a", "typ": "JWT", "alg": "RS256"}),
        claims: json!({
            "namespace_id": "72", "namespace_path": "my-group",
            "project_id": "20", "project_path": "my-group/my-project",
            "user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com",
            "user_access_level": "developer", "user_identities": [
                {"provider": "github", "extern_uid": "2435223452345"},
                {"provider": "bitbucket", "extern_uid": "john.smith"},
            ],
            "pipeline_id": "574", "pipeline_source": "push",
            "job_id": "302",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
            "ref_protected": "true",
            "groups_direct": ["mygroup/mysubgroup", "myothergroup/myothersubgroup"],
            "environment": "production", "environment_protected": "true",
            "deployment_tier": "production", "deployment_action": "start",
            "runner_id": 1, "runner_environment": "self-hosted",
            "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
            "project_visibility": "public",
            "ci_config_ref_uri": "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
            "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
            "iss": Workload::GITLAB,
            "iat": NOW, "nbf": NOW - 5, "exp": NOW + 3600,
            "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
            "aud": AUDIENCE,
        }),
        name: "ci:project_path:my-group/my-project:ref_type:branch:ref:main",
        holds: &[
            "project_path=my-group/my-project ref_type=branch ref=main",
            "namespace_id=72 project_id=20",
            "ref_protected=true environment_protected=true",
            "runner_id=1 runner_environment=self-hosted",
            "sub=project_path:my-group/*:ref_type:branch:ref:main",
        ],
        fails: &[
            "project_path=my-group/my-project ref_type=tag ref=main",
            "project_path=my-group",
            "ref_protected=false",
            "runner_id=10",
            // What is nested is nobody's to match.
            "groups_direct=mygroup/mysubgroup",
        ],
    }
}

/// There is no `typ`, the audience is a list, and all but the subject is nested.
/// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
fn kubernetes() -> Written {
    Written {
        issuer: "https://kubernetes.default.svc.cluster.local",
        header: json!({"alg": "RS256", "kid": "a"}),
        claims: json!({
            "aud": [AUDIENCE],
            "exp": NOW + 3607, "iat": NOW, "nbf": NOW,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
            "kubernetes.io": {
                "namespace": "team-a",
                "node": {"name": "127.0.0.1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
                "pod": {"name": "pusher-69cbfb9798-jv9gn", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
                "serviceaccount": {"name": "pusher", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
                "warnafter": NOW + 3000,
            },
            "sub": "system:serviceaccount:team-a:pusher",
        }),
        name: "ci:system:serviceaccount:team-a:pusher",
        holds: &[
            "sub=system:serviceaccount:team-a:pusher",
            "sub=system:serviceaccount:team-a:*",
        ],
        fails: &[
            "sub=system:serviceaccount:team:*",
            "sub=system:serviceaccount:team-b:pusher",
            "namespace=team-a",
            "kubernetes.io=*",
        ],
    }
}

/// A token, signed as they all do.
fn signed(key: &RsaKeyPair, written: &Written) -> String {
    let text = [&written.header, &written.claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Who pushes with this token where a rule is about jobs of which a condition holds.
async fn pushes(
    written: &Written,
    key: &RsaKeyPair,
    condition: &str,
) -> Result<Option<String>, ErrorKind> {
    let der = key.public_key().as_der().unwrap();
    let public = VerificationKey::from_spki(der.as_ref()).unwrap();
    let keys = KeySet::new().with(public.called("a").unwrap()).unwrap();
    let web = Web::default();
    web.put(KEYS, String::from_utf8(keys.to_document()).unwrap());
    let time = Time::default();
    let workload = Workload::new("ci", written.issuer, AUDIENCE)
        .unwrap()
        .keys_url(KEYS, web)
        .unwrap()
        .clock(time.clone());
    let rules = Rules::new().sentence(&format!("workload ci {condition} may push org/app"));
    let access = AccessControl::new(rules.check().unwrap())
        .authenticator(workload)
        .clock(time);
    let headers = headers(Some(&basic("x", &signed(key, written))));
    let operation = Operation::parse(&Method::POST, "/v2/org/app/blobs/uploads/", None).unwrap();
    let sender = Sender::new(&headers, RequestOrigin::default());
    let grant = access.authorize(&sender, &operation).await;
    let grant = grant.map_err(|refusal| refusal.error.kind())?;
    Ok(grant.actor.name.clone())
}

#[tokio::test(start_paused = true)]
async fn jobs_are_known_by_what_the_usual_issuers_write() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    for written in [github(), gitlab(), kubernetes()] {
        for condition in written.holds {
            let who = pushes(&written, &key, condition).await;
            assert_eq!(who, Ok(Some(written.name.to_owned())), "{condition}");
        }
        for condition in written.fails {
            let who = pushes(&written, &key, condition).await;
            assert_eq!(who, Err(ErrorKind::Denied), "{condition}");
        }
    }
}

/// Without being told so, each of them writes another audience: a token that was meant
/// for somebody else opens nothing.
#[tokio::test(start_paused = true)]
async fn what_they_write_for_others_opens_nothing() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    for (mut written, audience) in [
        (github(), json!("https://github.com/octo-org")),
        (gitlab(), json!("https://gitlab.com")),
        (
            kubernetes(),
            json!(["https://kubernetes.default.svc.cluster.local"]),
        ),
    ] {
        written.claims["aud"] = audience;
        let who = pushes(&written, &key, written.holds[0]).await;
        assert_eq!(who, Err(ErrorKind::Unauthorized), "{}", written.name);
    }
}
