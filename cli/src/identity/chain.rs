//! The chain of one node, judged step by step. Pure.

use cluster_api::MAX_STATEMENTS;
use kube::ResourceExt;
use node_identity::{
    Envelope, Floor, KeyStatement, NodeCertificate, NodeCertificateTerms, Pin, RevokedSubject,
    TrustedRoots, UnixTime, VerifiedPeer, VerifyError, envelope::NOT_BEFORE_TOLERANCE,
};

use super::{CertificateReport, Check, CheckVerdict, Facts, Report, StatementReport};
use crate::roots::{self, RootSeen, chain};
use crate::times::date;

/// Whom a chain may lead to.
struct Trust<'a> {
    roots: &'a TrustedRoots,
    /// Others that the cluster has, as while a root is changed: what they signed spoils nothing.
    /// None where nothing leads to a trusted root.
    beside: Vec<&'a RootSeen>,
}

impl Trust<'_> {
    /// Why what none of the trusted roots signed is of no concern.
    fn elsewhere(&self, certificate: &NodeCertificate) -> Option<String> {
        let signed = |root: &&&RootSeen| root.certificate.has_signed(certificate);
        let other = self.beside.iter().find(signed)?;
        Some(format!("it belongs to another root, {}", other.pin))
    }
}

/// The steps so far.
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, what: impl Into<String>) {
        self.add(what, CheckVerdict::Ok, String::new());
    }

    fn failed(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.add(what, CheckVerdict::Failed, why.into());
    }

    fn add(&mut self, what: impl Into<String>, verdict: CheckVerdict, why: String) {
        let what = what.into();
        self.0.push(Check { what, verdict, why });
    }

    fn that(&mut self, what: impl Into<String>, holds: bool, otherwise: impl Into<String>) {
        if holds {
            self.ok(what);
        } else {
            self.failed(what, otherwise);
        }
    }
}

/// Judges everything that was found of a node.
pub(crate) fn judge(facts: &Facts, now: UnixTime) -> Report {
    let mut checks = Checks(Vec::new());
    let seen = read_roots(facts, &mut checks);
    let pinned = !facts.pins.is_empty();
    let pins = if pinned {
        facts.pins.clone()
    } else {
        seen.iter().map(|root| root.pin).collect()
    };
    let (roots, revocations) = roots::trust(&pins, &seen);
    judge_roots(&pins, &seen, &roots, now, &mut checks);
    let envelopes = envelopes(facts);
    // An empty floor: this program has no memory of what it saw before.
    let verify = |one: &Envelope| one.verify(&roots, &revocations, &Floor::default(), now);
    let is_proven = envelopes.iter().flatten().any(|one| verify(one).is_ok());
    let trust = Trust {
        roots: &roots,
        beside: seen
            .iter()
            .filter(|root| is_proven && !pins.contains(&root.pin))
            .collect(),
    };
    let certificate = read_certificate(facts, &mut checks);
    if let Some(certificate) = &certificate {
        judge_certificate(certificate, facts, &trust, now, &mut checks);
    }
    judge_revocation(certificate.as_ref(), facts, &pins, &seen, &mut checks);
    judge_statements(
        &envelopes,
        certificate.as_ref(),
        &trust,
        verify,
        &mut checks,
    );
    let verified = !checks
        .0
        .iter()
        .any(|check| check.verdict == CheckVerdict::Failed);
    Report {
        node: facts.name.to_string(),
        verified,
        pinned,
        roots: roots
            .iter()
            .map(|root| format!("{} of trust domain {}", root.pin(), root.trust_domain()))
            .collect(),
        certificate: certificate.map(|one| certificate_report(one.terms(), now)),
        statements: envelopes
            .iter()
            .flatten()
            .map(|one| statement_report(one.statement()))
            .collect(),
        checks: checks.0,
    }
}

fn read_roots(facts: &Facts, checks: &mut Checks) -> Vec<RootSeen> {
    let mut seen = Vec::new();
    for (name, reason) in &facts.lists.malformed {
        checks.add(
            format!("revocation list {name} is of its form"),
            CheckVerdict::Unknown,
            reason.clone(),
        );
    }
    for object in &facts.lists.objects {
        match roots::read(object) {
            Ok(root) => seen.push(root),
            // What is no root's own counts for nothing, and so spoils nothing either.
            Err(reason) => checks.add(
                format!("revocation list {} holds together", object.name_any()),
                CheckVerdict::Unknown,
                reason,
            ),
        }
    }
    seen
}

fn judge_roots(
    pins: &[Pin],
    seen: &[RootSeen],
    roots: &TrustedRoots,
    now: UnixTime,
    checks: &mut Checks,
) {
    checks.that(
        "the cluster has the certificate of a trusted root",
        !roots.is_empty(),
        "no root certificate in the cluster hashes to a trusted pin",
    );
    for root in seen.iter().filter(|root| pins.contains(&root.pin)) {
        let what = format!(
            "list {} of what {} revoked is signed by it and not overdue",
            root.list.list().number,
            root.pin
        );
        checks.that(
            what,
            !root.is_overdue(now),
            format!(
                "the next one was due {}: somebody may be withholding it",
                date(root.list.list().next_update, now)
            ),
        );
    }
}

fn read_certificate(facts: &Facts, checks: &mut Checks) -> Option<NodeCertificate> {
    let what = "the node has a certificate of Sotto's form";
    let Some(text) = &facts.identity.spec.certificate else {
        checks.failed(what, "the controller has published none");
        return None;
    };
    let read = cluster_api::decode(text)
        .map_err(|error| chain(&error))
        .and_then(|der| NodeCertificate::from_der(&der).map_err(|error| chain(&error)));
    match read {
        Ok(certificate) => {
            checks.ok(what);
            Some(certificate)
        }
        Err(reason) => {
            checks.failed(what, reason);
            None
        }
    }
}

fn judge_certificate(
    certificate: &NodeCertificate,
    facts: &Facts,
    trust: &Trust<'_>,
    now: UnixTime,
    checks: &mut Checks,
) {
    let terms = certificate.terms();
    let mut roots = trust.roots.iter();
    let what = "the certificate is signed by a trusted root";
    match roots.find(|root| root.has_signed(certificate)) {
        Some(root) => {
            checks.ok(format!("the certificate is signed by {}", root.pin()));
            checks.that(
                "root and node are of one trust domain",
                *root.trust_domain() == terms.identity.trust_domain,
                format!("the root speaks for {}", root.trust_domain()),
            );
        }
        None => match trust.elsewhere(certificate) {
            Some(why) => checks.add(what, CheckVerdict::Other, why),
            None => checks.failed(what, "no trusted root signed it"),
        },
    }
    checks.that(
        "the certificate is valid now",
        terms.not_before <= now.plus(NOT_BEFORE_TOLERANCE) && now <= terms.not_after,
        format!(
            "it is valid from {} until {}",
            date(terms.not_before, now),
            date(terms.not_after, now)
        ),
    );
    checks.that(
        "the certificate is the node's that was asked for",
        terms.identity.name == facts.name
            && terms.identity.uid.to_string() == facts.identity.spec.node_uid,
        format!("it is of {}", terms.identity),
    );
    let what = "the Node object that it was given to still lives";
    match &facts.node_uid {
        Ok(Some(uid)) => checks.that(
            what,
            *uid == terms.identity.uid.to_string(),
            format!("the Node of this name is another one now, UID {uid}"),
        ),
        Ok(None) => checks.failed(what, "there is no Node object of this name"),
        Err(reason) => checks.add(what, CheckVerdict::Unknown, reason.clone()),
    }
}

fn judge_revocation(
    certificate: Option<&NodeCertificate>,
    facts: &Facts,
    pins: &[Pin],
    seen: &[RootSeen],
    checks: &mut Checks,
) {
    // The certificate of a revoked node is taken away; its UID still tells.
    let key = certificate.map(|certificate| certificate.terms().key.hash());
    let uid = certificate.map_or_else(
        || facts.identity.spec.node_uid.parse().ok(),
        |certificate| Some(certificate.terms().identity.uid),
    );
    let hit = seen
        .iter()
        .filter(|root| pins.contains(&root.pin))
        .flat_map(|root| &root.list.list().entries)
        .find(|entry| match entry.subject {
            RevokedSubject::IdentityKey(hash) => Some(hash) == key,
            RevokedSubject::Node(node) => Some(node) == uid,
        });
    let why = match hit.map(|entry| entry.subject) {
        Some(RevokedSubject::IdentityKey(_)) => "its identity key is revoked",
        Some(RevokedSubject::Node(_)) => "the node is revoked, with every key it ever had",
        None => "",
    };
    checks.that("no signed list revokes key or node", hit.is_none(), why);
    if facts.identity.spec.revoked && hit.is_none() {
        checks.failed(
            "nobody wants it revoked",
            "an operator wants it revoked, and the controller has not signed that yet",
        );
    }
}

fn envelopes(facts: &Facts) -> Vec<Result<Envelope, String>> {
    let status = facts.identity.status.as_ref();
    let texts = status.map_or(&[][..], |status| status.statements.as_slice());
    let read = |text: &String| {
        let der = cluster_api::decode(text).map_err(|error| chain(&error))?;
        Envelope::from_der(&der).map_err(|error| chain(&error))
    };
    texts.iter().take(MAX_STATEMENTS).map(read).collect()
}

fn judge_statements(
    envelopes: &[Result<Envelope, String>],
    published: Option<&NodeCertificate>,
    trust: &Trust<'_>,
    verify: impl Fn(&Envelope) -> Result<VerifiedPeer, VerifyError>,
    checks: &mut Checks,
) {
    if envelopes.is_empty() {
        checks.failed(
            "the node has stated a tunnel key",
            "its daemon has published no statement: does it run?",
        );
    }
    for (index, envelope) in envelopes.iter().enumerate() {
        let number = index + 1;
        let envelope = match envelope {
            Ok(envelope) => envelope,
            Err(reason) => {
                let what = format!("statement {number} is of Sotto's form");
                checks.failed(what, reason.as_str());
                continue;
            }
        };
        let what = format!(
            "statement {number} verifies: chain, dates, addresses, ranges, both signatures"
        );
        match (verify(envelope), trust.elsewhere(envelope.certificate())) {
            (Ok(_), _) => checks.ok(what),
            (Err(_), Some(why)) => checks.add(what, CheckVerdict::Other, why),
            (Err(error), None) => checks.failed(what, chain(&error)),
        }
        if let Some(published) = published {
            judge_key(number, envelope, published, checks);
        }
    }
}

fn judge_key(number: usize, envelope: &Envelope, published: &NodeCertificate, checks: &mut Checks) {
    let (stated, terms) = (envelope.statement(), published.terms());
    let what = format!("statement {number} is by the key and node of the published certificate");
    // A statement for the certificate before the last is usual around a renewal.
    checks.that(
        what,
        stated.identity == terms.identity && stated.identity_key_hash == terms.key.hash(),
        format!(
            "it is by {} of {}",
            stated.identity_key_hash, stated.identity
        ),
    );
}

fn certificate_report(terms: &NodeCertificateTerms, now: UnixTime) -> CertificateReport {
    CertificateReport {
        serial: terms.serial.0,
        spiffe_id: terms.identity.to_string(),
        uid: terms.identity.uid.to_string(),
        identity_key: terms.key.hash().to_string(),
        addresses: terms.addresses.iter().map(ToString::to_string).collect(),
        pod_ranges: terms.pod_ranges.iter().map(ToString::to_string).collect(),
        not_before: date(terms.not_before, now),
        not_after: date(terms.not_after, now),
    }
}

fn statement_report(statement: &KeyStatement) -> StatementReport {
    StatementReport {
        generation: statement.generation.0,
        tunnel_key: cluster_api::encode(&statement.tunnel_key.to_bytes()),
        endpoints: statement
            .endpoints
            .iter()
            .map(ToString::to_string)
            .collect(),
        base_port: statement.base_port,
        lanes: statement.lanes,
        certificate_serial: statement.certificate_serial.0,
    }
}

#[cfg(test)]
mod tests;
