//! An API server in the test's own memory: it lists in pages, watches, reads, creates, replaces and
//! merges, remembers what it was asked, and misbehaves when told to. Each of its objects says that
//! somebody wrote it at a time that cannot be read.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// One request, as it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// What to do instead of answering.
pub(crate) enum Instead {
    Status(u16, Option<&'static str>),
    /// No answer, ever.
    Nothing,
    /// An answer that begins and never goes on.
    Silence,
    /// A watch that says this and ends.
    Event(Value),
}

/// Objects as they were, and the version of that time.
pub(crate) type Backup = (u64, BTreeMap<String, BTreeMap<String, Value>>);

type Rule = Box<dyn FnMut(&Asked) -> Option<Instead> + Send>;

#[derive(Default)]
struct World {
    version: u64,
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    log: Vec<(u64, String, Value)>,
    /// Kind, the version after which it tells, and whom.
    watches: Vec<(String, u64, UnboundedSender<Value>)>,
    asked: Vec<Asked>,
    rule: Option<Rule>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<World>>);

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    fn value(&self, key: &str) -> Option<&str> {
        let mut parts = self.query.split('&');
        parts.find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    }

    /// Plural, name and subresource.
    fn target(&self) -> (String, Option<String>, Option<String>) {
        let mut parts = self.path.split('/').skip(1);
        let skipped = if parts.next() == Some("apis") { 2 } else { 1 };
        let mut parts = parts.skip(skipped).map(str::to_owned).peekable();
        if parts.next_if(|part| part == "namespaces").is_some() {
            parts.next();
        }
        (parts.next().unwrap(), parts.next(), parts.next())
    }
}

impl Fake {
    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Puts an object there; tells the watches.
    pub(crate) fn put(&self, plural: &str, mut object: Value) -> Value {
        let mut world = self.world();
        world.version += 1;
        if let Some(prefix) = object["metadata"]["generateName"].as_str() {
            let name = format!("{prefix}{}", world.version);
            object["metadata"]["name"] = json!(name);
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let objects = world.objects.entry(plural.to_owned()).or_default();
        let known = objects.contains_key(&name);
        let uid = format!("00000000-0000-4000-8000-{:012x}", world.version);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.entry("uid").or_insert(json!(uid));
        metadata.insert("resourceVersion".into(), json!(world.version.to_string()));
        // A time that every API server takes, and no calendar.
        let beyond = json!([{ "manager": "mallory", "time": "10000-01-01T00:00:00Z" }]);
        metadata.insert("managedFields".into(), beyond);
        let kind = if known { "MODIFIED" } else { "ADDED" };
        let objects = world.objects.get_mut(plural).unwrap();
        objects.insert(name, object.clone());
        world.tell(plural, kind, &object);
        object
    }

    pub(crate) fn delete(&self, plural: &str, name: &str) {
        let mut world = self.world();
        world.version += 1;
        let version = json!(world.version.to_string());
        let mut gone = world.objects.get_mut(plural).unwrap().remove(name).unwrap();
        gone["metadata"]["resourceVersion"] = version;
        world.tell(plural, "DELETED", &gone);
    }

    /// Forgets a change: a watch that resumes does not learn of it.
    pub(crate) fn forget_log(&self) {
        self.world().log.clear();
    }

    /// Ends the watches of a kind.
    pub(crate) fn end_watches(&self, plural: &str) {
        self.world()
            .watches
            .retain(|(watched, ..)| watched != plural);
    }

    pub(crate) fn back_up(&self) -> Backup {
        let world = self.world();
        (world.version, world.objects.clone())
    }

    /// Goes back to that time, and ends all watches.
    pub(crate) fn restore(&self, backup: Backup) {
        let mut world = self.world();
        (world.version, world.objects) = backup;
        world.log.clear();
        world.watches.clear();
    }

    pub(crate) fn object(&self, plural: &str, name: &str) -> Option<Value> {
        self.world().objects.get(plural)?.get(name).cloned()
    }

    pub(crate) fn instead(&self, rule: impl FnMut(&Asked) -> Option<Instead> + Send + 'static) {
        self.world().rule = Some(Box::new(rule));
    }

    pub(crate) fn behave(&self) {
        self.world().rule = None;
    }

    pub(crate) fn asked(&self, wanted: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let world = self.world();
        world
            .asked
            .iter()
            .filter(|asked| wanted(asked))
            .cloned()
            .collect()
    }

    /// Lists of a kind, first pages only, and none that is asked for its version.
    pub(crate) fn lists(&self, plural: &str) -> Vec<Asked> {
        let of_one = |asked: &Asked| {
            let fields = asked.value("fieldSelector");
            fields.is_some_and(|fields| fields.starts_with("metadata.name"))
        };
        self.asked(|asked| {
            if of_one(asked) {
                return false;
            }
            let is_first = asked.value("continue").is_none() && !asked.is_watch();
            asked.method == "GET" && asked.target() == (plural.to_owned(), None, None) && is_first
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let asked = Asked {
            at: Instant::now(),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let instead = {
            let mut world = self.world();
            world.asked.push(asked.clone());
            world.rule.as_mut().and_then(|rule| rule(&asked))
        };
        match instead {
            Some(Instead::Status(code, after)) => {
                let mut answer = status(code);
                if let Some(after) = after {
                    answer
                        .headers_mut()
                        .insert("retry-after", after.parse().unwrap());
                }
                answer
            }
            Some(Instead::Nothing) => std::future::pending().await,
            Some(Instead::Silence) => {
                let nothing = stream::pending::<Result<Vec<u8>, Infallible>>();
                Response::new(Body::from_stream(nothing))
            }
            Some(Instead::Event(event)) => Response::new(Body::from(line(&event))),
            None => self.serve(&asked),
        }
    }

    fn serve(&self, asked: &Asked) -> Response<Body> {
        let (plural, name, _) = asked.target();
        match (asked.method.as_str(), name) {
            ("GET", None) if asked.is_watch() => self.watch(&plural, asked),
            ("GET", None) => self.list(&plural, asked),
            ("GET", Some(name)) => match self.object(&plural, &name) {
                Some(object) => found(&object),
                None => status(404),
            },
            ("POST", None) => found(&self.put(&plural, asked.body.clone())),
            ("PUT", Some(name)) => match self.object(&plural, &name) {
                Some(old)
                    if old["metadata"]["resourceVersion"]
                        != asked.body["metadata"]["resourceVersion"] =>
                {
                    status(409)
                }
                Some(_) => found(&self.put(&plural, asked.body.clone())),
                None => status(404),
            },
            ("PATCH", Some(name)) => match self.object(&plural, &name) {
                Some(mut object) => {
                    merge(&mut object, &asked.body);
                    found(&self.put(&plural, object))
                }
                None if asked.query.contains("fieldManager=") => {
                    found(&self.put(&plural, asked.body.clone()))
                }
                None => status(404),
            },
            ("DELETE", Some(name)) => {
                let wanted = &asked.body["preconditions"]["uid"];
                match self.object(&plural, &name) {
                    Some(object) if object["metadata"]["uid"] == *wanted => {
                        self.delete(&plural, &name);
                        found(&object)
                    }
                    Some(_) => status(409),
                    None => status(404),
                }
            }
            (method, name) => panic!("{method} {plural} {name:?} is not made up"),
        }
    }

    fn list(&self, plural: &str, asked: &Asked) -> Response<Body> {
        let world = self.world();
        let none = BTreeMap::new();
        let objects = world.objects.get(plural).unwrap_or(&none);
        let from: usize = asked
            .value("continue")
            .map_or(0, |token| token.parse().unwrap());
        let limit: usize = asked
            .value("limit")
            .map_or(usize::MAX, |limit| limit.parse().unwrap());
        assert!(limit <= 50, "pages are small");
        let items: Vec<&Value> = objects.values().skip(from).take(limit).collect();
        let next = from + items.len();
        let token = (next < objects.len()).then(|| next.to_string());
        found(&json!({
            "kind": "List", "apiVersion": "v1", "items": items,
            "metadata": { "resourceVersion": world.version.to_string(), "continue": token },
        }))
    }

    fn watch(&self, plural: &str, asked: &Asked) -> Response<Body> {
        let from: u64 = asked.value("resourceVersion").unwrap().parse().unwrap();
        let (sender, receiver) = unbounded_channel();
        let mut world = self.world();
        for (version, kind, event) in &world.log {
            if kind == plural && *version > from {
                sender.send(event.clone()).unwrap();
            }
        }
        world.watches.push((plural.to_owned(), from, sender));
        let events = stream::unfold(receiver, |mut receiver| async {
            let event: Value = receiver.recv().await?;
            Some((Ok::<_, Infallible>(line(&event)), receiver))
        });
        Response::new(Body::from_stream(events))
    }
}

impl World {
    fn tell(&mut self, plural: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.log
            .push((self.version, plural.to_owned(), event.clone()));
        self.watches.retain(|(watched, from, sender)| {
            watched != plural || self.version <= *from || sender.send(event.clone()).is_ok()
        });
    }
}

fn line(event: &Value) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).unwrap();
    line.push(b'\n');
    line
}

fn found(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string()))
}

fn status(code: u16) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "code": code, "reason": reason, "message": format!("made up: {code}"),
    });
    let answer = Response::builder().status(code);
    answer.body(Body::from(status.to_string())).unwrap()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}
