//! Is this a registry?

use crate::served::Served;
use crate::wire::Ask;

promises!(
    the_registry_names_its_protocol,
    nothing_else_is_below_the_base
);

/// Docker, skopeo and crane ask this first; a redirect would lose their method and their login.
async fn the_registry_names_its_protocol(served: &Served) {
    for target in ["/v2/", "/v2", "/v2/?ns=docker.io"] {
        let answer = served.get(target).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.body, "{}");
        let head = served.head(target).await.expect(200);
        assert_eq!(head.lasting_headers(), answer.lasting_headers());
    }
    let plugin = Ask::get("/v2/").header("docker-distribution-api-version", "registry/2.0");
    served.ask(plugin).await.expect(200);
}

async fn nothing_else_is_below_the_base(served: &Served) {
    for target in [
        "/v2/x",
        "/v2/app/blobs",
        "/v2/app/manifests/",
        "/v2/_oci/ext/discover",
        "/v2/app/tags/list/",
    ] {
        served.get(target).await.expect(404);
    }
}
