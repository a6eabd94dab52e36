//! An API server in memory, for tests: objects by their path, as they were written.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// In an object's metadata: when somebody wrote a field, as the API server takes it.
pub(crate) const LATE: &str = r#""managedFields": [{"manager": "m", "operation": "Update",
    "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}, "time": "9999-12-31T23:59:59Z"}]"#;

/// The server; all copies are the same one.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, String>,
    /// How many more writes succeed, if not all.
    writes_left: Option<usize>,
}

impl Fake {
    /// A cluster of which it is the API server.
    pub(crate) fn cluster(&self) -> Cluster {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Cluster::of(Client::new(service, "default"))
    }

    /// Puts an object there, as text that may be anything.
    pub(crate) fn put(&self, path: &str, object: &str) {
        let objects = &mut self.0.lock().unwrap().objects;
        objects.insert(path.to_owned(), object.to_owned());
    }

    /// Lets so many writes succeed from now on; `None`: all.
    pub(crate) fn allow(&self, writes: Option<usize>) {
        self.0.lock().unwrap().writes_left = writes;
    }

    /// All objects by their path.
    pub(crate) fn objects(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap().objects.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let path = parts.uri.path();
        let mut state = self.0.lock().unwrap();
        if parts.method == Method::GET {
            return state.read(path);
        }
        if state.writes_left == Some(0) {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR);
        }
        state.writes_left = state.writes_left.map(|left| left - 1);
        if parts.method == Method::DELETE {
            return state.delete(path);
        }
        let object: Value = serde_json::from_slice(&body).unwrap();
        let content = parts.headers.get("content-type").unwrap();
        if content == "application/merge-patch+json" {
            // Answered, not carried out: no test asks for more.
            return state.read(path);
        }
        let path = match &parts.method {
            &Method::POST => format!("{path}/{}", object["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let stored = stored(object);
        state.objects.insert(path, stored.clone());
        Response::new(Body::from(stored.into_bytes()))
    }
}

impl State {
    /// Takes an object away, and with a namespace what is in it.
    fn delete(&mut self, path: &str) -> Response<Body> {
        let Some(object) = self.objects.remove(path) else {
            return refusal(StatusCode::NOT_FOUND);
        };
        if let Some(namespace) = path.strip_prefix("/api/v1/namespaces/")
            && !namespace.contains('/')
        {
            let part = format!("/namespaces/{namespace}/");
            self.objects.retain(|path, _| !path.contains(&part));
        }
        Response::new(Body::from(object.into_bytes()))
    }

    fn read(&self, path: &str) -> Response<Body> {
        if path == "/version" {
            let version = json!({"major": "1", "minor": "37"}).to_string();
            return Response::new(Body::from(version.into_bytes()));
        }
        if let Some(object) = self.objects.get(path) {
            return Response::new(Body::from(object.clone().into_bytes()));
        }
        let parts = path.split('/').count();
        let is_list = parts == if path.starts_with("/api/") { 4 } else { 5 };
        if !is_list {
            return refusal(StatusCode::NOT_FOUND);
        }
        let below = |one: &&String| {
            let parent = one.rsplit_once('/').map_or("", |(parent, _)| parent);
            // A list of all namespaces has what is in any of them.
            let everywhere = parent.split_once("/namespaces/").and_then(|(group, rest)| {
                let (_, kind) = rest.split_once('/')?;
                Some(format!("{group}/{kind}"))
            });
            parent == path || everywhere.is_some_and(|one| one == path)
        };
        let all: Vec<&str> = self
            .objects
            .iter()
            .filter(|(one, _)| below(one))
            .map(|(_, object)| object.as_str())
            .collect();
        let list = format!(
            r#"{{"kind": "List", "apiVersion": "v1", "metadata": {{}}, "items": [{}]}}"#,
            all.join(",")
        );
        Response::new(Body::from(list.into_bytes()))
    }
}

/// The object as the server keeps it. The same written again is the same.
fn stored(mut object: Value) -> String {
    if object["kind"] == "CustomResourceDefinition" {
        object["status"] = json!({
            "acceptedNames": {}, "storedVersions": [],
            "conditions": [{"type": "Established", "status": "True"}],
        });
    }
    object.to_string()
}

fn refusal(status: StatusCode) -> Response<Body> {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        _ => "InternalError",
    };
    let body =
        json!({"kind": "Status", "code": status.as_u16(), "message": "no", "reason": reason});
    let body = Body::from(body.to_string().into_bytes());
    Response::builder().status(status).body(body).unwrap()
}

/// Carries a request out.
pub(crate) fn wait<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(task)
}
