//! What a granted request changes in the ledger.

use std::net::IpAddr;

use node_identity::{
    CERTIFICATE_LIFETIME, CertificateSerial, JoinTokenId, NOT_BEFORE_BACKDATE, NodeName, NodeUid,
    PodRanges, UnixTime,
};
use rand_core::CryptoRng;

use super::{Authority, Question};
use crate::ledger::{Ledger, NodeRecord, RetiredKey, TokenRecord};

/// A certificate to be signed. It exists once the ledger that it was entered into is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The node.
    pub(crate) uid: NodeUid,
    /// What the ledger will say of it.
    pub(crate) record: NodeRecord,
    /// Addresses of the Node that are not certified, and the live nodes that have them.
    pub(crate) left_out: Vec<(IpAddr, NodeName)>,
    used: Used,
    retired: Option<RetiredKey>,
}

/// Which tokens the grant uses up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    None,
    One(JoinTokenId),
    /// An approval answers whatever token the node had asked with.
    AllOfNode,
}

/// What the checks found out.
pub(super) struct Terms {
    pub(super) pod_ranges: PodRanges,
    pub(super) recent: Vec<UnixTime>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) allowed: Vec<IpAddr>,
    pub(super) left_out: Vec<(IpAddr, NodeName)>,
}

impl Grant {
    /// Enters the grant into the ledger; the token is used up in the same write.
    pub(crate) fn enter(self, ledger: &mut Ledger) {
        let key = self.record.key.hash();
        let used = |(id, token): &(&JoinTokenId, &mut TokenRecord)| match self.used {
            Used::None => false,
            Used::One(used) => **id == used,
            Used::AllOfNode => token.uid == self.uid && token.secret.is_some(),
        };
        for (_, token) in ledger.tokens.iter_mut().filter(used) {
            token.secret = None;
            token.used_by = Some(key);
        }
        if let Some(retired) = self.retired {
            ledger.retired.push(retired);
            ledger.revocations.outdated = true;
        }
        ledger.nodes.insert(self.uid, self.record);
    }
}

impl Question<'_> {
    pub(super) fn grant(
        &self,
        authority: Authority,
        terms: Terms,
        random: &mut impl CryptoRng,
    ) -> Grant {
        let (now, before) = (self.now, self.record());
        let not_after = now.plus(CERTIFICATE_LIFETIME);
        let mut recent = terms.recent;
        recent.push(now);
        let record = NodeRecord {
            name: self.identity.name.clone(),
            key: *self.key,
            serial: CertificateSerial::next(now, before.map(|record| record.serial), random),
            issued: now,
            not_before: now.minus(NOT_BEFORE_BACKDATE),
            not_after,
            last_not_after: before.map_or(not_after, |one| one.last_not_after.max(not_after)),
            addresses: terms.addresses,
            allowed_addresses: terms.allowed,
            pod_ranges: terms.pod_ranges,
            recent,
            revoked_until: None,
            awaiting: None,
            approved: None,
            departed: None,
        };
        let (used, retired) = match authority {
            Authority::Renewal | Authority::Stamps => (Used::None, None),
            Authority::Token(id) => (Used::One(id), None),
            // A key that is replaced because it is lost may be in somebody's hands.
            Authority::Approval => (
                Used::AllOfNode,
                before.map(|one| RetiredKey {
                    key: one.key.hash(),
                    until: one.last_not_after,
                }),
            ),
        };
        Grant {
            uid: self.identity.uid,
            record,
            left_out: terms.left_out,
            used,
            retired,
        }
    }
}
