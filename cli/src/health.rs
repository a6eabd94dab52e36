//! What makes a node or the controller count as not well, for every verb alike.

use cluster_api::{IdentityState, Peer};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use node_identity::UnixTime;

use crate::cluster::Seen;
use crate::table::span;
use crate::times::unix;

/// How many lease durations without renewal count as dead: the holder's clock is another one, and
/// a few seconds of difference are usual.
const DEAD_AFTER: u64 = 4;
/// What Kubernetes' own components lease for, where the object does not say.
const USUAL_DURATION: u64 = 15;

/// Why a node is not well. A revoked node is out, not ill.
pub(crate) fn ailment(peer: &Peer) -> Option<String> {
    let explained = |state: &str| {
        if peer.spec.reason.is_empty() {
            format!("identity is {state}")
        } else {
            format!("identity is {state}: {}", peer.spec.reason)
        }
    };
    match peer.spec.identity {
        IdentityState::Revoked => return None,
        IdentityState::Pending => return Some(explained("pending")),
        IdentityState::Expired => return Some(explained("expired")),
        IdentityState::Verified => {}
    }
    let Some(status) = &peer.status else {
        return Some("its daemon has reported nothing yet".to_owned());
    };
    let Some(ready) = status.conditions.iter().find(|one| one.type_ == "Ready") else {
        return Some("its daemon has not said whether it is ready".to_owned());
    };
    let bad = status
        .conditions
        .iter()
        .filter(|one| one.type_ != "Ready" && one.status == "False");
    let faults: Vec<String> = (ready.status != "True")
        .then_some(ready)
        .into_iter()
        .chain(bad)
        .map(words)
        .collect();
    if !faults.is_empty() {
        return Some(faults.join("; "));
    }
    if status.unhealthy_total > 0 {
        let named: Vec<String> = status
            .unhealthy_peers
            .iter()
            .take(3)
            .map(|one| format!("{}: {}", one.node, one.reason))
            .collect();
        return Some(format!(
            "{} of its peers are not well ({})",
            status.unhealthy_total,
            named.join("; ")
        ));
    }
    None
}

fn words(condition: &Condition) -> String {
    let why = if condition.message.is_empty() {
        &condition.reason
    } else {
        &condition.message
    };
    format!("{}={}: {why}", condition.type_, condition.status)
}

/// Who is the controller that signs, or what is wrong with it.
pub(crate) fn lease(lease: &Seen<Option<Lease>>, now: UnixTime) -> Result<String, String> {
    let lease = match lease {
        Ok(Some(lease)) => lease,
        Ok(None) => return Err("no controller ever led: is it running?".to_owned()),
        Err(error) => return Err(format!("the controller's lease is not known: {error}")),
    };
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty())
        .ok_or("no controller leads: is it running?")?;
    let duration = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(USUAL_DURATION);
    let renewed = spec
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| unix(&Time(time.0)))
        .ok_or("the controller's lease was never renewed: is it running?")?;
    let age = now.duration_since(renewed).as_secs();
    if age > duration.saturating_mul(DEAD_AFTER) {
        return Err(format!(
            "the controller {holder} has not renewed its lease for {}: is it running, and are the \
             clocks right?",
            span(age)
        ));
    }
    Ok(format!("{holder} leads, renewed {} ago", span(age)))
}
