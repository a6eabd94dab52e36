//! This node's own papers: certificate, generations, and what of them the store has to show.
//!
//! Decides when to ask for a certificate, when to make a generation and what to publish; asking and
//! publishing are done elsewhere, only this node's own files are written here. A generation is first
//! published, then used: peers have to know it before it speaks. Only the first of a boot cannot wait,
//! as there is nothing else to use.

mod place;
mod refused;
mod renewal;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_store::{Published, PublishedNode};
use kept_files::Loaded;
use node_identity::{Envelope, NodeCertificate, PodRanges, UnixTime, VerifiedPeer};
use service_log::chain;
use tracing::{info, warn};
use tunnel_core::control::{GenerationRank, OwnGeneration};
use tunnel_core::moment::Moment;

use crate::clock::Now;
use crate::config::{Config, Store};
use crate::enrol::{self, Addresses, Ask, Enrolment, Place, Wish};
use crate::generation::{Due, Generations, OwnedGeneration, Wanted};
use crate::io::random;
use crate::keys::{self, Identity};
use crate::marks::GenerationMark;
use crate::peers::{Peers, Standing};

use refused::Refused;
pub(crate) use renewal::Renewal;

/// The certificate's name in the state directory.
pub(crate) const CERTIFICATE_FILE: &str = "certificate.der";
/// Most bytes of it: what the store takes.
const CERTIFICATE_LIMIT: u64 = 64 << 10;
/// The store is written at most so often: somebody may keep overwriting what we publish.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// What waits when it cannot be used.
const USE: &str = "use a certificate or tunnel key";

/// The papers.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Who this node is.
    pub(crate) identity: Identity,
    config: Config,
    mark: GenerationMark,
    generations: Generations,
    enrolment: Enrolment,
    certificate: Option<NodeCertificate>,
    candidate: Option<Candidate>,
    /// A generation that somebody asked for and that is not made yet.
    asked_for: Option<Due>,
    shown: Vec<Vec<u8>>,
    place: Place,
    published_at: Option<Moment>,
    refused: Refused,
    request_refused: Refused,
    last_run_refused: Refused,
    standing: Standing,
    renewal: Renewal,
}

/// A generation that is made but not used.
#[derive(Debug)]
struct Candidate {
    generation: OwnedGeneration,
    verified: VerifiedPeer,
}

/// A generation that is taken into use.
pub(crate) struct Installed {
    /// As the agreement takes it.
    pub(crate) generation: OwnGeneration,
    /// Whether its key is kept for a restart; it is in use all the same.
    pub(crate) kept: Result<()>,
}

impl Credentials {
    /// Takes up what an earlier daemon left.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(crate) fn load(
        config: &Config,
        identity: Identity,
        boot: &str,
        tunnel_keys: Option<PathBuf>,
    ) -> Result<Self> {
        let generations = Generations::load(tunnel_keys, boot, &identity)?;
        let mark = GenerationMark::load(&config.state_directory)?;
        let mut credentials = Self {
            identity,
            config: config.clone(),
            mark,
            generations,
            enrolment: Enrolment::default(),
            certificate: None,
            candidate: None,
            asked_for: None,
            shown: Vec::new(),
            place: Place::Kept,
            published_at: None,
            refused: Refused::default(),
            request_refused: Refused::default(),
            last_run_refused: Refused::default(),
            standing: Standing::Good,
            renewal: Renewal::InTime,
        };
        credentials.certificate = credentials.read_certificate()?;
        Ok(credentials)
    }

    fn read_certificate(&self) -> Result<Option<NodeCertificate>> {
        let path = self.config.state_directory.join(CERTIFICATE_FILE);
        let parse = |der: &[u8]| match NodeCertificate::from_der(der) {
            Ok(certificate) if self.is_mine(&certificate) => Ok(certificate),
            Ok(_) => Err("it is for another identity or key".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        let (fault, aside) = match kept_files::load(&path, CERTIFICATE_LIMIT, parse)? {
            Loaded::Absent => return Ok(None),
            Loaded::Whole(certificate) => return Ok(Some(certificate)),
            Loaded::Refused { fault, aside } => (fault, aside),
        };
        warn!(file = %path.display(), fault, aside = %aside.display(), "Certificate refused, a new one is asked for");
        Ok(None)
    }

    fn is_mine(&self, certificate: &NodeCertificate) -> bool {
        let terms = certificate.terms();
        terms.identity == self.identity.id && terms.key == self.identity.key.public()
    }

    /// The certificate, valid or not.
    pub(crate) fn certificate(&self) -> Option<&NodeCertificate> {
        self.certificate.as_ref()
    }

    /// The pod ranges that the certificate gives this node.
    pub(crate) fn pod_ranges(&self) -> PodRanges {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.terms().pod_ranges.clone())
            .unwrap_or_default()
    }

    /// The generations in use, the newest first.
    pub(crate) fn generations(&self) -> &[OwnedGeneration] {
        self.generations.kept()
    }

    /// What the newest generation has to say, if the certificate names an endpoint of this node.
    fn wanted(&self, certificate: &NodeCertificate) -> Option<Wanted> {
        let terms = certificate.terms();
        let certified = |endpoint: &IpAddr| terms.addresses.contains(endpoint);
        let endpoints: Vec<IpAddr> = self
            .config
            .endpoints
            .iter()
            .copied()
            .filter(certified)
            .collect();
        (!endpoints.is_empty()).then_some(Wanted {
            serial: terms.serial,
            endpoints,
            base_port: self.config.port,
            lanes: self.config.lanes,
        })
    }

    /// The same, or what is missing for anything to be made with the certificate.
    fn feasible(
        &self,
        certificate: &NodeCertificate,
        peers: &Peers,
    ) -> Result<Wanted, &'static str> {
        if !peers.has_root() {
            return Err("no root certificate of these pins is known yet");
        }
        self.wanted(certificate).ok_or("it certifies none of this node's endpoints, are they inside the controller's underlay ranges?")
    }

    /// Looks for a new certificate among what is published. One that cannot be used is passed over,
    /// one that cannot be kept on disk is tried again.
    pub(crate) fn handle_published(
        &mut self,
        published: &Published,
        peers: &Peers,
        now: Now,
    ) -> Option<Ask> {
        let own: Option<&PublishedNode> = published
            .nodes
            .iter()
            .find(|node| node.may_be(&self.identity.id.uid, &self.identity.id.name));
        self.shown = own.map(|own| own.envelopes.clone()).unwrap_or_default();
        self.judge_place(own);
        let der = own.and_then(|own| own.certificate.as_deref())?;
        let held = self.certificate.as_ref().map(|held| held.terms().serial);
        match NodeCertificate::from_der(der) {
            Ok(certificate) if held >= Some(certificate.terms().serial) => None,
            Ok(certificate) if self.is_mine(&certificate) => self.accept(certificate, peers, now),
            Ok(_) => self.pass_over("it is for another identity or key"),
            Err(error) => self.pass_over(&chain(&error)),
        }
    }

    /// A certificate counts when peers will believe what is made with it, and it is on disk.
    fn accept(&mut self, certificate: NodeCertificate, peers: &Peers, now: Now) -> Option<Ask> {
        let wanted = match self.feasible(&certificate, peers) {
            Ok(wanted) => wanted,
            Err(lack) => return self.pass_over(lack),
        };
        if now.moment < self.refused.try_again {
            return None;
        }
        let made = self
            .make(&certificate, &wanted, peers, now.wall)
            .and_then(|candidate| {
                let path = self.config.state_directory.join(CERTIFICATE_FILE);
                kept_files::write(&path, certificate.to_der(), 0o644)?;
                Ok(candidate)
            });
        let candidate = match made {
            Ok(candidate) => candidate,
            Err(error) => {
                self.refused.note(USE, &format!("{error:#}"), now);
                return None;
            }
        };
        let terms = certificate.terms();
        info!(serial = %terms.serial, pods = %terms.pod_ranges, not_after = terms.not_after.0, "Certificate accepted");
        self.use_next(candidate);
        self.certificate = Some(certificate);
        self.enrolment.handle_accepted()
    }

    fn pass_over(&mut self, reason: &str) -> Option<Ask> {
        self.refused.say(USE, reason);
        None
    }

    fn make(
        &mut self,
        certificate: &NodeCertificate,
        wanted: &Wanted,
        peers: &Peers,
        now: UnixTime,
    ) -> Result<Candidate> {
        let number = self.mark.advance(peers.own_published(), now)?;
        let generation = OwnedGeneration::make(
            &self.identity,
            certificate,
            wanted,
            number,
            now,
            &mut random::system(),
        )?;
        let verified = peers.judge_own(&generation.envelope, now)?;
        Ok(Candidate {
            generation,
            verified,
        })
    }

    fn use_next(&mut self, candidate: Candidate) {
        self.candidate = Some(candidate);
        self.asked_for = None;
        self.refused = Refused::default();
    }

    /// Begins what is due: an enrolment, a renewal, a new generation. A revoked node is due nothing;
    /// what fails is tried again.
    pub(crate) fn handle_time(&mut self, peers: &Peers, now: Now) {
        self.standing = peers.own_standing();
        self.judge_renewal(now.wall);
        if self.standing == Standing::Revoked {
            return;
        }
        self.begin_enrolment(now);
        self.begin_generation(peers, now);
    }

    fn begin_enrolment(&mut self, now: Now) {
        let endpoints = &self.config.endpoints;
        let certificate = self.certificate.as_ref();
        let due = Enrolment::due(certificate, endpoints, self.place, now.wall);
        let Some(due) = due.filter(|_| now.moment >= self.request_refused.try_again) else {
            return;
        };
        match self.ask_for_certificate(due, now) {
            Ok(()) => self.request_refused = Refused::default(),
            Err(error) => {
                let reason = format!("{error:#}");
                self.request_refused
                    .note("ask for a certificate", &reason, now);
            }
        }
    }

    /// A renewal is signed by the identity key that the controller knows; only who has no valid
    /// certificate shows the token.
    fn ask_for_certificate(&mut self, due: enrol::Due, now: Now) -> Result<()> {
        let valid = self
            .certificate
            .as_ref()
            .is_some_and(|certificate| certificate.terms().not_after >= now.wall);
        let token = if valid {
            None
        } else {
            keys::read_join_token(&self.config)?
        };
        let wish = Wish {
            due,
            endpoints: &self.config.endpoints,
            addresses: match self.config.store {
                Store::Directory { .. } => Addresses::Asked,
                Store::Kubernetes(_) => Addresses::OfController,
            },
            token: token.as_ref(),
        };
        self.enrolment.begin(&self.identity, wish, now.moment)
    }

    /// Asks for a new generation, in place of one that waits to be used as well.
    pub(crate) fn want_generation(&mut self, reason: Due) {
        self.asked_for = Some(reason);
    }

    /// Erases every tunnel key, one that waits to be used as well, and asks for a new one: memory that
    /// was copied has them elsewhere too.
    ///
    /// # Errors
    /// When their file cannot be removed.
    pub(crate) fn handle_memory_copied(&mut self) -> Result<()> {
        self.candidate = None;
        self.want_generation(Due::Copied);
        self.generations
            .erase()
            .context("erase tunnel keys that were copied")
    }

    /// Makes the generation that is due, to be published and then used. Whether one is due is only known
    /// with the last run's in use.
    fn begin_generation(&mut self, peers: &Peers, now: Now) {
        let Some(certificate) = self.certificate.clone() else {
            return;
        };
        let judge = |envelope: &Envelope| peers.judge_own(envelope, now.wall);
        if self.generations.can_adopt(judge) {
            return;
        }
        let due = || {
            let wanted = self.wanted(&certificate)?;
            self.generations.due(&wanted, now.wall)
        };
        let due = match (self.asked_for, &self.candidate) {
            (Some(asked_for), _) => Some(asked_for),
            (None, Some(_)) => None,
            (None, None) => due(),
        };
        let Some(reason) = due.filter(|_| now.moment >= self.refused.try_again) else {
            return;
        };
        let wanted = match self.feasible(&certificate, peers) {
            Ok(wanted) => wanted,
            Err(lack) => return self.refused.say(USE, lack),
        };
        match self.make(&certificate, &wanted, peers, now.wall) {
            Ok(candidate) => {
                info!(generation = %candidate.generation.statement().generation, %reason, "New tunnel key made");
                self.use_next(candidate);
            }
            Err(error) => self.refused.note(USE, &format!("{error:#}"), now),
        }
    }

    /// The next question about the certificate, if its time has come.
    pub(crate) fn poll_ask(&mut self, now: Moment) -> Option<Ask> {
        match self.standing {
            Standing::Good => self.enrolment.poll(now),
            Standing::Revoked => None,
        }
    }

    /// What the store says about requests.
    pub(crate) fn enrolment(&mut self) -> &mut Enrolment {
        &mut self.enrolment
    }

    /// What keeps the next certificate back, as far as the controller has said.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.enrolment.obstacle()
    }

    /// When [`Credentials::poll_ask`] has something.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        match self.standing {
            Standing::Good => self.enrolment.poll_timeout(),
            Standing::Revoked => None,
        }
    }

    /// The envelopes that the store should show and does not: the newest and the one before.
    pub(crate) fn poll_publish(&mut self, now: Moment) -> Option<Vec<Vec<u8>>> {
        let candidate = self.candidate.iter().map(|candidate| &candidate.generation);
        let envelopes: Vec<Vec<u8>> = candidate
            .chain(self.generations.kept())
            .take(cluster_store::MAX_ENVELOPES)
            .map(|generation| generation.envelope.to_der())
            .collect();
        let early = self
            .published_at
            .is_some_and(|at| now.duration_since(at) < PUBLISH_EVERY);
        let kept_out = self.standing == Standing::Revoked || self.place == Place::Missing;
        if kept_out || early || envelopes.is_empty() || envelopes == self.shown {
            return None;
        }
        self.published_at = Some(now);
        Some(envelopes)
    }

    /// The store shows these envelopes.
    pub(crate) fn handle_envelopes_published(&mut self, envelopes: Vec<Vec<u8>>) {
        self.shown = envelopes;
    }

    /// The generation to use from here on, when its time has come: it is the last run's, or published,
    /// or nothing else could be used.
    pub(crate) fn poll_install(&mut self, peers: &Peers, now: Now) -> Option<Installed> {
        let judge = |envelope: &Envelope| peers.judge_own(envelope, now.wall);
        let adopted = self.generations.adopt(judge).unwrap_or_else(|error| {
            let reason = chain(&error);
            self.last_run_refused
                .note("use the last run's tunnel key", &reason, now);
            None
        });
        let (verified, kept) = match adopted {
            Some(verified) => (verified, Ok(())),
            None => self.install_candidate()?,
        };
        let newest = self.generations.newest()?;
        Some(Installed {
            generation: newest.to_control(verified),
            kept,
        })
    }

    fn install_candidate(&mut self) -> Option<(VerifiedPeer, Result<()>)> {
        let ready = |candidate: &Candidate| {
            let der = candidate.generation.envelope.to_der();
            self.generations.newest().is_none() || self.shown.contains(&der)
        };
        let candidate = self.candidate.take_if(|candidate| ready(candidate))?;
        let kept = self
            .generations
            .install(candidate.generation)
            .context("keep the tunnel key for a restart");
        Some((candidate.verified, kept))
    }

    /// A handshake timestamp that must not be forgotten while its generation lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn remember_stamp(&mut self, rank: GenerationRank, seconds: u64) -> Result<()> {
        Ok(self.generations.remember_stamp(rank.generation, seconds)?)
    }

    /// The generation is not in use any more: its key is erased.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn retire(&mut self, generation: u64) -> Result<()> {
        Ok(self.generations.retire(generation)?)
    }
}
