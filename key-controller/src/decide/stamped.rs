//! V1 to V10 for a request that the API server stamped: who asks, which pod and which Node stand
//! behind it. Of what the requester wrote itself only the key counts; its name and UID must be the
//! stamps', its addresses and ranges are the Node's.

use std::net::IpAddr;

use cluster_store::{NodeSeen, PendingReason, PodSeen, Stamp};
use node_identity::{MAX_ADDRESSES, NodeName, PodCidr, PodRanges};
use rand_core::CryptoRng;

use super::{Authority, Decision, Question, Refusal, grant};
use crate::config::{InKubernetes, PodRangesFrom};
use crate::kubernetes::DAEMON;
use crate::ledger::NodeRecord;

/// Of the Node's addresses those that may be certified, and those that another live node has.
struct Addresses {
    kept: Vec<IpAddr>,
    left_out: Vec<(IpAddr, NodeName)>,
}

/// The stamps, each with its one value.
struct Stamped<'a> {
    pod_uid: &'a str,
    node_name: &'a str,
    node_uid: &'a str,
}

impl Question<'_> {
    pub(super) fn decide_stamped(
        &self,
        home: &InKubernetes,
        stamp: &Stamp,
        random: &mut impl CryptoRng,
    ) -> Result<Decision, Refusal> {
        if !self.addresses.is_empty() || self.request.token.is_some() {
            return Err(Refusal::NamesAddresses);
        }
        check_account(home, stamp)?;
        let stamped = single_values(stamp)?;
        check_pod(
            stamp.pod.as_ref(),
            &stamped,
            stamp.daemon_set_uid.as_deref(),
        )?;
        let node = self.check_node(stamp.node.as_ref(), &stamped)?;
        self.check_identity(&stamped)?;
        self.check_not_revoked()?;
        let named = self.check_name();
        // The Node of that name is this one, so the other's is gone.
        if named == Err(Refusal::NameTaken) {
            return Ok(Decision::Pending(PendingReason::HeldByDeparted));
        }
        named?;
        self.check_key()?;
        let Some(authority) = self.stamped_authority(stamp.operator_approved) else {
            let (uid, key) = (self.identity.uid, self.key.hash());
            return Ok(Decision::AwaitApproval { uid, key });
        };
        let Addresses { kept, left_out } = self.addresses_of(node);
        if kept.is_empty() {
            return Ok(Decision::Pending(PendingReason::NoAddress));
        }
        let pod_ranges = match self.ranges_of(home, node)? {
            Ok(pod_ranges) => pod_ranges,
            Err(reason) => return Ok(Decision::Pending(reason)),
        };
        let has_ranges = |ranges: &PodRanges| *ranges == pod_ranges;
        if self.has_it_already(&kept)
            && self.record().is_some_and(|one| has_ranges(&one.pod_ranges))
        {
            return Ok(Decision::Again(self.identity.uid));
        }
        let Some(recent) = self.recent() else {
            return Ok(Decision::Pending(PendingReason::RateLimited));
        };
        let terms = grant::Terms {
            pod_ranges,
            recent,
            addresses: kept,
            allowed: Vec::new(),
            left_out,
        };
        let grant = self.grant(authority, terms, random);
        Ok(Decision::Issue(Box::new(grant)))
    }

    /// V5.
    fn check_node<'n>(
        &self,
        node: Option<&'n NodeSeen>,
        stamped: &Stamped<'_>,
    ) -> Result<&'n NodeSeen, Refusal> {
        let node = node.ok_or(Refusal::NodeGone)?;
        if node.uid != stamped.node_uid {
            return Err(Refusal::NodeReplaced);
        }
        if node.being_deleted {
            return Err(Refusal::NodeBeingDeleted);
        }
        Ok(node)
    }

    /// V6, against the stamps. Exactly: neither case nor a trailing dot is forgiven.
    fn check_identity(&self, stamped: &Stamped<'_>) -> Result<(), Refusal> {
        if self.identity.uid.to_string() != stamped.node_uid {
            return Err(Refusal::WrongUid);
        }
        if self.identity.name.as_str() != stamped.node_name {
            return Err(Refusal::WrongName);
        }
        Ok(())
    }

    /// V7. `None`: a live node's key would be replaced, and no operator said so.
    fn stamped_authority(&self, operator_approved: bool) -> Option<Authority> {
        let Some(record) = self.record() else {
            return Some(Authority::Stamps);
        };
        if record.key == *self.key {
            Some(Authority::Renewal)
        } else if operator_approved {
            Some(Authority::Approval)
        } else if record.is_live(self.now) {
            None
        } else {
            Some(Authority::Stamps)
        }
    }

    /// V9, addresses.
    fn addresses_of(&self, node: &NodeSeen) -> Addresses {
        let (mut kept, mut left_out) = (Vec::new(), Vec::new());
        for address in &node.addresses {
            let is_more = !kept.contains(address) && kept.len() < MAX_ADDRESSES;
            if !is_more || !self.settings.may_be_underlay(*address) {
                continue;
            }
            match self.holder_of(*address) {
                None => kept.push(*address),
                Some(owner) => left_out.push((*address, owner.clone())),
            }
        }
        left_out.truncate(MAX_ADDRESSES);
        Addresses { kept, left_out }
    }

    /// V9, ranges; `Ok(Err(_))` is what the request waits for.
    fn ranges_of(
        &self,
        home: &InKubernetes,
        node: &NodeSeen,
    ) -> Result<Result<PodRanges, PendingReason>, Refusal> {
        match home.pod_ranges_from {
            PodRangesFrom::Controller => {
                Ok(self.pod_ranges()?.ok_or(PendingReason::NoFreePodRange))
            }
            PodRangesFrom::Node if node.pod_ranges.is_empty() => {
                Ok(Err(PendingReason::NoNodePodRange))
            }
            PodRangesFrom::Node => self.check_ranges(&node.pod_ranges),
        }
    }

    /// A revoked node has no range any more: Kubernetes gives a deleted Node's to the next one, and
    /// peers that know of the one know of the other's revocation.
    fn check_ranges(&self, texts: &[String]) -> Result<Result<PodRanges, PendingReason>, Refusal> {
        let malformed = |text: &str| Refusal::MalformedRange(text.chars().take(64).collect());
        let parsed: Result<Vec<PodCidr>, Refusal> = texts
            .iter()
            .map(|text| text.parse().map_err(|_| malformed(text)))
            .collect();
        let ranges = PodRanges::try_new(parsed?).map_err(|error| malformed(&error.to_string()))?;
        if !self.settings.covers(&ranges) {
            return Err(Refusal::RangesOutsideCluster);
        }
        // A kubelet that makes its own Node may write into it what it likes. What the node has already
        // it keeps, for the limit may be newer.
        let has_them = self.record().is_some_and(|one| one.pod_ranges == ranges);
        if let Some(range) = self.settings.too_large(&ranges).filter(|_| !has_them) {
            return Err(Refusal::RangeTooLarge(range));
        }
        let is_another =
            |record: &&NodeRecord| record.is_live(self.now) && record.pod_ranges != ranges;
        if self.record().as_ref().is_some_and(is_another) {
            return Err(Refusal::RangesChanged);
        }
        let others = self
            .ledger
            .nodes
            .iter()
            .filter(|(uid, node)| **uid != self.identity.uid && node.revoked_until.is_none());
        let mut answer = Ok(&ranges);
        for (_, other) in others {
            let taken = |range: &&PodCidr| other.pod_ranges.iter().any(|one| one.overlaps(range));
            match ranges.iter().find(taken) {
                Some(_) if other.departed.is_some() => answer = Err(PendingReason::HeldByDeparted),
                Some(range) => {
                    let (range, owner) = (*range, other.name.clone());
                    return Err(Refusal::RangeTaken { range, owner });
                }
                None => {}
            }
        }
        Ok(answer.cloned())
    }
}

/// V2.
fn check_account(home: &InKubernetes, stamp: &Stamp) -> Result<(), Refusal> {
    if stamp.username == format!("system:serviceaccount:{}:{DAEMON}", home.namespace) {
        Ok(())
    } else {
        Err(Refusal::NotTheDaemon(
            stamp.username.chars().take(128).collect(),
        ))
    }
}

/// V3.
fn single_values(stamp: &Stamp) -> Result<Stamped<'_>, Refusal> {
    fn single(values: &[String], absent: Refusal) -> Result<&str, Refusal> {
        match values {
            [] => Err(absent),
            [one] => Ok(one),
            [_, _, ..] => Err(Refusal::AmbiguousStamps),
        }
    }
    single(&stamp.pod_name, Refusal::NoPodBehindToken)?;
    Ok(Stamped {
        pod_uid: single(&stamp.pod_uid, Refusal::NoPodBehindToken)?,
        node_name: single(&stamp.node_name, Refusal::NoNodeBehindToken)?,
        node_uid: single(&stamp.node_uid, Refusal::NoNodeBehindToken)?,
    })
}

/// V4.
fn check_pod(
    pod: Option<&PodSeen>,
    stamped: &Stamped<'_>,
    daemon_set_uid: Option<&str>,
) -> Result<(), Refusal> {
    let pod = pod.ok_or(Refusal::PodGone)?;
    if pod.uid != stamped.pod_uid {
        return Err(Refusal::PodReplaced);
    }
    if pod.service_account != DAEMON {
        return Err(Refusal::PodOfAnotherAccount);
    }
    if pod.node_name != stamped.node_name {
        return Err(Refusal::PodOnAnotherNode);
    }
    if daemon_set_uid.is_none() || pod.daemon_set_uid.as_deref() != daemon_set_uid {
        return Err(Refusal::PodNotOfDaemonSet);
    }
    Ok(())
}
