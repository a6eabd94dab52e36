//! Events about Nodes, for `kubectl describe node` and `kubectl get events`.
//!
//! Events live in a namespace, Nodes do not: theirs are in `default`, as kubelet's are. An event
//! may be lost; so one that cannot be written is a line at debug level and no error, and they are
//! written by a task of their own, for which nobody waits.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use cluster_client::Lenient;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::lock;
use super::status::cut;
use crate::view::{Notice, Severity};

/// Where events about objects without a namespace are.
const NAMESPACE: &str = "default";
/// How long the same of the same node is not said again (a guess: what people still read).
const PACE: Duration = Duration::from_secs(600);
/// Most events between two of which the pace is kept; with more under way, none is written. Half of
/// them are for warnings alone: a new cluster has a normal one for each node.
const MOST: usize = 1_024;
/// How long writing one may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest note that the API takes.
const MAX_NOTE: usize = 1_024;
/// Longest part of a node's name in an event's: the rest of 253 is for the time.
const MAX_NAME: usize = 220;

/// Events on their way.
#[derive(Debug)]
pub(super) struct Events {
    said: Mutex<Said>,
    queue: mpsc::Sender<Notice>,
}

impl Events {
    /// Starts the task that writes them, in that program's name.
    pub(super) fn start(
        tasks: &mut JoinSet<()>,
        client: kube::Client,
        writer: &'static str,
    ) -> Self {
        let (queue, mut waiting) = mpsc::channel(MOST);
        tasks.spawn(async move {
            while let Some(notice) = waiting.recv().await {
                write(&client, writer, notice).await;
            }
        });
        Self {
            said: Mutex::default(),
            queue,
        }
    }

    /// Has it written, unless the same was said lately.
    pub(super) fn tell(&self, notice: Notice) {
        if lock(&self.said).admits(&notice)
            && let Err(error) = self.queue.try_send(notice)
        {
            debug!(%error, "Event not written");
        }
    }
}

/// What was said of whom lately.
#[derive(Debug, Default)]
struct Said(HashMap<(String, &'static str), Instant>);

impl Said {
    /// Whether it may be said now; it then counts as said.
    fn admits(&mut self, notice: &Notice) -> bool {
        self.0.retain(|_, said| said.elapsed() < PACE);
        let key = (notice.node.to_string(), notice.reason);
        let most = match notice.severity {
            Severity::Normal => MOST / 2,
            Severity::Warning => MOST,
        };
        if self.0.len() >= most || self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, Instant::now());
        true
    }
}

async fn write(client: &kube::Client, writer: &str, notice: Notice) {
    let event = Lenient(Ok(event(writer, &notice, Timestamp::now())));
    let api = Api::<Lenient<Event>>::namespaced(client.clone(), NAMESPACE);
    let parameters = PostParams::default();
    match timeout(LIMIT, api.create(&parameters, &event)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => debug!(node = %notice.node, %error, "Event not written"),
        Err(_) => debug!(node = %notice.node, "Event not written in time"),
    }
}

fn event(writer: &str, notice: &Notice, now: Timestamp) -> Event {
    let name = notice.node.to_string();
    let part = cut(&name, MAX_NAME);
    let part = part.trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{part}.{:x}", now.as_nanosecond())),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            // As kubelet does: `kubectl describe node` looks for the name in this place.
            uid: Some(name),
            ..ObjectReference::default()
        }),
        type_: Some(
            match notice.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            }
            .to_owned(),
        ),
        reason: Some(notice.reason.to_owned()),
        action: Some(notice.reason.to_owned()),
        note: Some(cut(&notice.message, MAX_NOTE)),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(format!("{}/{writer}", cluster_api::GROUP)),
        reporting_instance: Some(writer.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_of_normal_events_keeps_no_warning_out() {
        let notice = |number: usize, severity| Notice {
            node: format!("node{number}").parse().unwrap(),
            severity,
            reason: "NodeRevoked",
            message: String::new(),
        };
        let mut said = Said::default();

        let normal = (0..2 * MOST).filter(|one| said.admits(&notice(*one, Severity::Normal)));
        assert_eq!(normal.count(), MOST / 2);
        assert!(said.admits(&notice(4 * MOST, Severity::Warning)));
    }
}
