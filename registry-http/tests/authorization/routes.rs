//! Every request that the protocol knows.

use registry_core::Operation;

use crate::endpoint::Endpoint;
use crate::management_operation::ManagementOperation;

/// One kind of request.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// The path with its query. What is in braces is of the [world](crate::world).
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [&'static str],
    /// The name of what is sent.
    pub(crate) body: &'static str,
    /// What may be refused.
    pub(crate) needs: Needs,
    /// The status of the answer to who may do it, where the repository is there,
    /// and where it isn't.
    pub(crate) there: u16,
    pub(crate) absent: u16,
}

/// What somebody has to be allowed.
#[derive(Debug)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// To show no wrong password.
    Token,
    /// To show a token or a key that is good, in the form.
    Exchange,
    /// To log in.
    Login,
    /// To log in, and to see names.
    Catalog,
    /// Something in the repository.
    In {
        action: &'static str,
        tags: &'static [&'static str],
    },
    /// To push, and to move tags if they point elsewhere.
    Move { tags: &'static [&'static str] },
    /// To be known.
    Known,
    /// To be a user who shows a password. Only the user called so has what is asked
    /// about, if it is about anything.
    Own { of: Option<&'static str> },
    /// To be allowed this in the registry as a whole, which no token is enough for.
    /// Some of it is there only with tokens.
    Manage { action: &'static str, tokens: bool },
    /// To administer the repository, and to delete whatever is in it.
    Whole,
    /// To push, and to pull from there; else it is an upload.
    Mount {
        from: &'static str,
        content: &'static str,
    },
}

/// Whoever has a token wants another one for it (RFC 8693).
const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
                        &subject_token_type=urn:ietf:params:oauth:token-type:access_token\
                        &subject_token={token}&scope=repository:secret/there:*";
const EXCHANGE_NOTHING: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
                                &subject_token_type=urn:ietf:params:oauth:token-type:jwt\
                                &subject_token={token}";

const fn login(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        headers: &[],
        body: "",
        needs: Needs::Login,
        there: 200,
        absent: 200,
    }
}

const fn beside(method: &'static str, path: &'static str, needs: Needs) -> Route {
    Route {
        needs,
        ..login(method, path)
    }
}

const fn form(path: &'static str, body: &'static str, needs: Needs) -> Route {
    Route {
        body,
        ..beside("POST", path, needs).with(&["content-type: application/x-www-form-urlencoded"])
    }
}

const fn manage(
    action: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> Route {
    let tokens = false;
    managed(Needs::Manage { action, tokens }, method, path, body)
}

const fn of_tokens(path: &'static str, body: &'static str) -> Route {
    let (action, tokens) = ("administer", true);
    managed(Needs::Manage { action, tokens }, "POST", path, body)
}

const fn own(method: &'static str, path: &'static str, body: &'static str) -> Route {
    managed(Needs::Own { of: None }, method, path, body)
}

const fn managed(
    needs: Needs,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> Route {
    Route {
        body,
        ..beside(method, path, needs).with(&["content-type: application/json"])
    }
}

const fn to(action: &'static str, method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        headers: &[],
        body: "",
        needs: Needs::In { action, tags: &[] },
        there: 200,
        absent: 404,
    }
}

const fn pull(method: &'static str, path: &'static str) -> Route {
    to("pull", method, path)
}

const fn list(method: &'static str, path: &'static str) -> Route {
    to("list", method, path)
}

const fn push(method: &'static str, path: &'static str, body: &'static str) -> Route {
    Route {
        body,
        ..to("push", method, path).answered(201, 201)
    }
}

const fn delete(path: &'static str) -> Route {
    to("delete", "DELETE", path).answered(202, 404)
}

const fn mount(path: &'static str, from: &'static str, content: &'static str) -> Route {
    Route {
        needs: Needs::Mount { from, content },
        ..to("push", "POST", path)
    }
}

impl Route {
    const fn answered(self, there: u16, absent: u16) -> Self {
        Self {
            there,
            absent,
            ..self
        }
    }

    const fn tags(self, tags: &'static [&'static str]) -> Self {
        let needs = match self.needs {
            Needs::In { action, .. } => Needs::In { action, tags },
            needs => needs,
        };
        Self { needs, ..self }
    }

    const fn moving(self, tags: &'static [&'static str]) -> Self {
        Self {
            needs: Needs::Move { tags },
            ..self
        }
    }

    const fn with(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }
}

/// The table: for each operation, and for what there is beside the protocol,
/// every form in which it can be asked for.
///
/// What is missing here doesn't compile.
macro_rules! table {
    (
        { $($operation:ident: $($route:expr),+;)+ }
        beside { $($endpoint:ident: $($other:expr),+;)+ }
        manage { $($managed:ident: $($management:expr),+;)+ }
    ) => {
        /// All routes, each with what it has to mean.
        pub(crate) const ROUTES: &[(&str, &[Route])] = &[
            $((stringify!($operation), &[$($route),+]),)+
            $((stringify!($endpoint), &[$($other),+]),)+
            $((stringify!($managed), &[$($management),+]),)+
        ];

        /// The name in the table.
        pub(crate) fn meaning(endpoint: &Endpoint) -> &'static str {
            match endpoint {
                Endpoint::Registry(operation) => match operation {
                    $(Operation::$operation { .. } => stringify!($operation),)+
                },
                $(Endpoint::$endpoint { .. } => stringify!($endpoint),)+
                Endpoint::Management(operation) => match operation {
                    $(ManagementOperation::$managed { .. } => stringify!($managed),)+
                },
            }
        }
    };
}

table! { {
    Ping:
        login("GET", "/v2/"),
        login("HEAD", "/v2/"),
        login("GET", "/v2");
    ListRepositories:
        beside("GET", "/v2/_catalog", Needs::Catalog),
        beside("HEAD", "/v2/_catalog", Needs::Catalog),
        beside("GET", "/v2/_catalog?n=2&last=open", Needs::Catalog);
    StatBlob:
        pull("HEAD", "/v2/{name}/blobs/{blob}"),
        pull("HEAD", "/v2/{name}/blobs/{blob}")
            .with(&["if-none-match: *"]).answered(304, 404);
    GetBlob:
        pull("GET", "/v2/{name}/blobs/{blob}"),
        pull("GET", "/v2/{name}/blobs/{blob}").with(&["range: bytes=1-2"]).answered(206, 404),
        pull("GET", "/v2/{name}/blobs/{blob}")
            .with(&["range: bytes=0-0,2-2"]).answered(206, 404),
        pull("GET", "/v2/{name}/blobs/{blob}").with(&["if-none-match: *"]).answered(304, 404),
        pull("GET", "/v2/{name}/blobs/{blob}?ns=example.com");
    DeleteBlob:
        delete("/v2/{name}/blobs/{blob}");
    BeginUpload:
        push("POST", "/v2/{name}/blobs/uploads/", "").answered(202, 202),
        push("POST", "/v2/{name}/blobs/uploads", "").answered(202, 202),
        push("POST", "/v2/{name}/blobs/uploads/?digest-algorithm=sha512", "").answered(202, 202),
        push("POST", "/v2/{name}/blobs/uploads/?mount={hidden}&from=Vault%2Fthere", "")
            .answered(202, 202),
        push("POST", "/v2/{name}/blobs/uploads/?mount={hidden}&from=open/there&from=vault/there", "")
            .answered(202, 202);
    PushBlob:
        push("POST", "/v2/{name}/blobs/uploads/?digest={new}", "new"),
        // What others hold is no more theirs for being known by its digest.
        push("POST", "/v2/{name}/blobs/uploads/?digest={hidden}", "").answered(202, 202);
    MountBlob:
        mount("/v2/{name}/blobs/uploads/?mount={blob}&from=open/there", "open/there", "blob"),
        mount("/v2/{name}/blobs/uploads/?mount={hidden}&from=vault/there", "vault/there", "hidden"),
        mount("/v2/{name}/blobs/uploads/?mount={hidden}&from=%76ault%2fthere", "vault/there", "hidden"),
        mount("/v2/{name}/blobs/uploads/?from=vault/there&mount={hidden}&digest={hidden}", "vault/there", "hidden"),
        mount("/v2/{name}/blobs/uploads/?mount={hidden}&from=vault/absent", "vault/absent", "hidden"),
        mount("/v2/{name}/blobs/uploads/?mount={blob}&from={name}", "{name}", "blob"),
        mount("/v2/{name}/blobs/uploads/?mount={hidden}", "", "hidden"),
        mount("/v2/{name}/blobs/uploads/?mount={blob}", "", "blob");
    UploadStatus:
        push("GET", "/v2/{name}/blobs/uploads/{upload}", "").answered(204, 404),
        push("HEAD", "/v2/{name}/blobs/uploads/{upload}", "").answered(204, 404),
        // What somebody else began is unknown.
        push("GET", "/v2/{name}/blobs/uploads/{foreign upload}", "").answered(404, 404),
        push("HEAD", "/v2/{name}/blobs/uploads/{foreign upload}", "").answered(404, 404);
    AppendUpload:
        push("PATCH", "/v2/{name}/blobs/uploads/{upload}", "more").answered(202, 404),
        push("PATCH", "/v2/{name}/blobs/uploads/{foreign upload}", "more").answered(404, 404);
    FinishUpload:
        push("PUT", "/v2/{name}/blobs/uploads/{upload}?digest={whole}", "more").answered(201, 404),
        push("PUT", "/v2/{name}/blobs/uploads/{foreign upload}?digest={whole}", "more")
            .answered(404, 404);
    CancelUpload:
        push("DELETE", "/v2/{name}/blobs/uploads/{upload}", "").answered(204, 404),
        push("DELETE", "/v2/{name}/blobs/uploads/{foreign upload}", "").answered(404, 404);
    StatManifest:
        pull("HEAD", "/v2/{name}/manifests/v1").tags(&["v1"]),
        pull("HEAD", "/v2/{name}/manifests/{image}"),
        pull("HEAD", "/v2/{name}/manifests/latest")
            .tags(&["latest"]).with(&["if-none-match: *"]).answered(304, 404);
    GetManifest:
        pull("GET", "/v2/{name}/manifests/v1").tags(&["v1"]),
        pull("GET", "/v2/{name}/manifests/latest").tags(&["latest"]),
        pull("GET", "/v2/{name}/manifests/%6catest").tags(&["latest"]),
        pull("GET", "/v2/{name}/manifests/{image}"),
        pull("GET", "/v2/{name}/manifests/{image}")
            .with(&["if-none-match: *"]).answered(304, 404);
    PutManifest:
        push("PUT", "/v2/{name}/manifests/v9", "other").tags(&["v9"]),
        push("PUT", "/v2/{name}/manifests/new", "other").tags(&["new"]),
        push("PUT", "/v2/{name}/manifests/{other}", "other"),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v9&tag=v8", "other").tags(&["v9", "v8"]),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v9&tag=new", "other").tags(&["v9", "new"]),
        // It points there already.
        push("PUT", "/v2/{name}/manifests/latest", "image").tags(&["latest"]),
        push("PUT", "/v2/{name}/manifests/latest", "other").moving(&["latest"]),
        push("PUT", "/v2/{name}/manifests/v1", "other").moving(&["v1"]),
        push("PUT", "/v2/{name}/manifests/keep", "other").moving(&["keep"]),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v1&tag=keep", "other")
            .moving(&["v1", "keep"]),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v1", "other").moving(&["v1"]),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v9&tag=%76%31", "other").moving(&["v9", "v1"]),
        push("PUT", "/v2/{name}/manifests/{other}?tag=v9&tag=latest", "other")
            .moving(&["v9", "latest"]);
    DeleteManifest:
        delete("/v2/{name}/manifests/v1").tags(&["v1"]),
        delete("/v2/{name}/manifests/keep").tags(&["keep"]),
        delete("/v2/{name}/manifests/{image}");
    ListTags:
        list("GET", "/v2/{name}/tags/list"),
        list("HEAD", "/v2/{name}/tags/list"),
        list("GET", "/v2/{name}/tags/list?n=1&last=keep");
    ListReferrers:
        // Where there is nothing, there are none.
        list("GET", "/v2/{name}/referrers/{image}").answered(200, 200),
        list("HEAD", "/v2/{name}/referrers/{image}").answered(200, 200),
        list("GET", "/v2/{name}/referrers/{image}?artifactType=application/vnd.example%2bjson")
            .answered(200, 200);
} beside {
    Token:
        beside("GET", "/v2/token", Needs::Token),
        beside("GET", "/v2/token?service=registry&scope=repository:secret/there:pull", Needs::Token),
        beside("GET", "/v2/token?scope=repository:secret/there:*", Needs::Token),
        form("/v2/token", EXCHANGE, Needs::Exchange),
        form("/v2/token", EXCHANGE_NOTHING, Needs::Exchange);
    Revoke:
        form("/v2/token/revoke", "token=nobodys", Needs::Nothing);
    KeySet:
        beside("GET", "/v2/token/jwks.json", Needs::Nothing),
        beside("HEAD", "/v2/token/jwks.json", Needs::Nothing),
        beside("GET", "/.well-known/jwks.json", Needs::Nothing);
} manage {
    ListRobots:
        manage("audit", "GET", "/api/v1/robots", ""),
        manage("audit", "HEAD", "/api/v1/robots?n=1", "");
    CreateRobot:
        manage("administer", "POST", "/api/v1/robots", r#"{"name":"new"}"#).answered(201, 201),
        manage("administer", "POST", "/api/v1/robots", r#"{"name":"ci"}"#).answered(412, 412);
    ShowRobot:
        manage("audit", "GET", "/api/v1/robots/ci", ""),
        manage("audit", "GET", "/api/v1/robots/%63i", ""),
        manage("audit", "GET", "/api/v1/robots/none", "").answered(404, 404);
    ChangeRobot:
        manage("administer", "PATCH", "/api/v1/robots/ci", r#"{"disabled":true}"#),
        manage("administer", "PATCH", "/api/v1/robots/ci", r#"{"groups":["team"]}"#);
    DeleteRobot:
        manage("administer", "DELETE", "/api/v1/robots/ci", "").answered(204, 204),
        manage("administer", "DELETE", "/api/v1/robots/none", "").answered(404, 404);
    ListRobotKeys:
        manage("audit", "GET", "/api/v1/robots/ci/keys", "");
    CreateRobotKey:
        manage("administer", "POST", "/api/v1/robots/ci/keys", "{}").answered(201, 201);
    RevokeRobotKey:
        manage("administer", "DELETE", "/api/v1/robots/ci/keys/{key}", "").answered(204, 204),
        // It is of another robot, or of a user.
        manage("administer", "DELETE", "/api/v1/robots/ci/keys/{foreign}", "").answered(404, 404),
        manage("administer", "DELETE", "/api/v1/robots/ci/keys/{own}", "").answered(404, 404);
    ListKeys:
        own("GET", "/api/v1/keys", "");
    CreateKey:
        own("POST", "/api/v1/keys", "{}").answered(201, 201);
    RevokeKey:
        managed(Needs::Own { of: Some("root") }, "DELETE", "/api/v1/keys/{own}", "")
            .answered(204, 404),
        own("DELETE", "/api/v1/keys/{key}", "").answered(404, 404);
    Explain:
        managed(Needs::Known, "POST", "/api/v1/explain", r#"{"actions":["pull"]}"#),
        managed(Needs::Known, "POST", "/api/v1/explain",
            r#"{"actions":["pull"],"repository":"secret/there","tag":"v1"}"#);
    RevokeTokens:
        of_tokens("/api/v1/revocations", r#"{"who":"robot$ci"}"#).answered(204, 204);
    RotateSigningKeys:
        // These keys are in memory.
        of_tokens("/api/v1/signing-keys", "{}").answered(405, 405);
    DeleteRepository:
        managed(Needs::Whole, "DELETE", "/api/v1/repositories/{name}", "").answered(204, 404);
} }
