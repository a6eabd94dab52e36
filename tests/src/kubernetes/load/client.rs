//! The daemon's client, with a look at what it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_client::{Access, connect};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;

use super::seats::Seat;

/// What all daemons sent, by kind of write.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<BTreeMap<Write, Bodies>>);

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Write {
    /// Envelopes into one's NodeIdentity.
    Envelopes,
    /// Status into one's Peer.
    Status,
}

/// Bodies of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bodies {
    pub(super) count: usize,
    pub(super) last: usize,
}

impl Sent {
    /// What was sent of a kind.
    pub(super) fn of(&self, kind: Write) -> Bodies {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&kind).copied().unwrap_or_default()
    }

    fn note(&self, kind: Write, bytes: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bodies = all.entry(kind).or_default();
        bodies.count += 1;
        bodies.last = bytes;
    }
}

/// A client as the daemon has it, whose writes are noted.
pub(super) async fn client(seat: &Seat, sent: &Arc<Sent>) -> anyhow::Result<Client> {
    let access = Access {
        kubeconfig: Some(seat.kubeconfig.clone()),
        context: None,
    };
    let client = connect(&access).await?;
    let namespace = client.default_namespace().to_owned();
    let sent = Arc::clone(sent);
    let service = tower::service_fn(move |request| {
        let (client, sent) = (client.clone(), Arc::clone(&sent));
        async move {
            let request = noted(request, &sent).await?;
            client.send(request).await
        }
    });
    Ok(Client::new(service, namespace))
}

async fn noted(request: Request<Body>, sent: &Sent) -> Result<Request<Body>, kube::Error> {
    let path = request.uri().path();
    let kind = match (request.method(), path.ends_with("/status")) {
        (&Method::PATCH, true) if path.contains("/peers/") => Write::Status,
        (&Method::PATCH, true) if path.contains("/nodeidentities/") => Write::Envelopes,
        _ => return Ok(request),
    };
    let (parts, body) = request.into_parts();
    let bytes = body.collect_bytes().await?;
    // A patch of nothing is how a daemon reads its own status.
    if bytes.len() > 2 {
        sent.note(kind, bytes.len());
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}
