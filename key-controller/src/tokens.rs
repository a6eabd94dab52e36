//! Makes join tokens: one node's leave to enrol, once. Pure but for the randomness handed in.

use std::net::IpAddr;
use std::time::Duration;

use node_identity::{JoinToken, JoinTokenError, NodeName, NodeUid, SpiffeId, UnixTime};
use rand_core::CryptoRng;

use crate::ledger::{Ledger, TokenRecord};

/// What a token is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    /// The node's name.
    pub(crate) name: NodeName,
    /// Addresses it may have; empty: any of the underlay.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long the token can be used.
    pub(crate) lifetime: Duration,
}

/// A new token, and what the operator should know about it.
pub(crate) struct Issued {
    pub(crate) token: JoinToken,
    /// The node is live: its key changes only with an operator's approval.
    pub(crate) needs_approval: bool,
}

/// Makes a token and enters it into the ledger. A name that is known keeps its UID.
pub(crate) fn invite(
    ledger: &mut Ledger,
    invitation: &Invitation,
    now: UnixTime,
    random: &mut impl CryptoRng,
) -> Result<Issued, JoinTokenError> {
    let known = ledger.uid_of(&invitation.name);
    let uid = known.unwrap_or_else(|| NodeUid::generate(random));
    let identity = SpiffeId {
        trust_domain: ledger.trust_domain.clone(),
        uid,
        name: invitation.name.clone(),
    };
    let token = JoinToken::generate(ledger.pin, identity, invitation.addresses.clone(), random)?;
    let record = TokenRecord {
        uid,
        name: invitation.name.clone(),
        addresses: invitation.addresses.clone(),
        expires: now.plus(invitation.lifetime),
        secret: Some(token.clone()),
        used_by: None,
    };
    ledger.tokens.insert(token.id, record);
    let needs_approval = ledger.nodes.get(&uid).is_some_and(|node| node.is_live(now));
    Ok(Issued {
        token,
        needs_approval,
    })
}
