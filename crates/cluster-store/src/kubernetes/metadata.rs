//! Objects of which only the metadata is asked for: a Node has tens of kilobytes, and each heartbeat
//! of its kubelet would bring them all. The client's own functions for this read metadata strictly,
//! which whoever writes it can make impossible; see `cluster_client::Lenient`.

use cluster_client::is_watch;
use http::header::ACCEPT;
use http::{HeaderValue, Request};
use kube::Client;
use kube::client::Body;

/// What a list of metadata is called.
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// What the metadata of an object is called, alone or in the events of a watch.
const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The same client, for requests whose answers are read as `PartialObjectMeta`.
pub(super) fn metadata_only(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let client = client.clone();
        let query = request.uri().query().unwrap_or_default();
        let accept = if is_list(query) { LIST } else { ONE };
        let accept = HeaderValue::from_static(accept);
        request.headers_mut().insert(ACCEPT, accept);
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

/// Lists are read in pages, so they name a limit.
fn is_list(query: &str) -> bool {
    !is_watch(query) && query.split('&').any(|part| part.starts_with("limit="))
}
