//! A node that is certified and dishonest: it agrees on keys as everybody does and then sends under
//! them what no honest lane would let out.
//!
//! It runs the real control side and a real lane over a socket, but hands the lane an owner table of
//! its own: every address is its own, except the one that it attacks.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64ct::{Base64, Encoding};
use chacha20::ChaCha12Rng;
use node_identity::{
    Envelope, Floor, Generation, IdentityKey, KeyStatement, NodeCertificate, Pin, Revocations,
    RootCertificate, TrustedRoots, TunnelKey, UnixTime, VerifiedPeer,
};
use rand_core::SeedableRng;
use serde_json::{Value, json};
use tunnel_core::control::{AesInstructions, Control, OwnGeneration, Settings};
use tunnel_core::counters::LaneCounters;
use tunnel_core::lane::{Lane, LaneSettings, Run, Wire};
use tunnel_core::moment::Moment;
use tunnel_core::offload::coalesce::UdpJoining;
use tunnel_core::offload::vnet::VNET_HEADER;
use tunnel_core::owner::{Owner, OwnerTable};
use tunnel_core::packet::Mtu;
use tunnel_core::plane::{LaneCommand, LaneIndex};

use crate::lab::{Controller, Lab, Node, TUNNEL_PORT};

/// How often the rogue looks at its socket and its timers.
const TURN: Duration = Duration::from_millis(5);

/// A certified node that lies about whose addresses are whose.
#[derive(Debug)]
pub struct Rogue {
    packets: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Rogue {
    /// Takes over a node that has enrolled and whose daemon is dead: its identity key and its
    /// certificate are the node's, its tunnel key is new. It will attack one address.
    ///
    /// # Errors
    /// When the node has no identity, or nobody owns the address.
    pub fn take_over(
        lab: &Lab,
        controller: &Controller,
        node: &Node,
        victim: IpAddr,
    ) -> Result<Self> {
        let trust = Trust::read(lab, controller)?;
        let (own, published) = generation(&trust, lab, node)?;
        std::fs::write(published.0, published.1)?;
        let peers = trust.peers(lab)?;
        let any = (Ipv4Addr::UNSPECIFIED, TUNNEL_PORT);
        let socket = node.inside(|| Ok(UdpSocket::bind(any)?))?;
        socket.set_read_timeout(Some(TURN))?;
        let (packets, asked) = channel();
        let thread =
            std::thread::spawn(move || Machine::new(socket, victim, &own, &peers)?.run(&asked));
        Ok(Self {
            packets: Some(packets),
            thread: Some(thread),
        })
    }

    /// Sends an IP packet through the tunnel of whoever owns its destination.
    ///
    /// # Errors
    /// When the rogue has ended.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let frame = [&[0; VNET_HEADER], packet].concat();
        let packets = self.packets.as_ref().context("the rogue was stopped")?;
        packets.send(frame).map_err(|_| anyhow!("the rogue ended"))
    }

    /// Stops it.
    ///
    /// # Errors
    /// Why it ended before.
    pub fn stop(mut self) -> Result<()> {
        self.packets = None;
        let thread = self.thread.take().context("the rogue was stopped")?;
        thread.join().map_err(|_| anyhow!("the rogue panicked"))?
    }
}

/// What makes a peer believed.
struct Trust {
    roots: TrustedRoots,
    now: UnixTime,
}

impl Trust {
    fn read(lab: &Lab, controller: &Controller) -> Result<Self> {
        let pin: Pin = controller.pin().parse()?;
        let mut candidates = Vec::new();
        for file in files(&lab.store().join("roots"))? {
            candidates.extend(RootCertificate::from_der(&std::fs::read(file)?));
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            roots: TrustedRoots::new(&[pin], candidates),
            now: UnixTime(since.as_secs()),
        })
    }

    fn verify(&self, envelope: &Envelope) -> Result<VerifiedPeer> {
        let (revoked, floor) = (Revocations::default(), Floor::default());
        Ok(envelope.verify(&self.roots, &revoked, &floor, self.now)?)
    }

    fn peers(&self, lab: &Lab) -> Result<Vec<VerifiedPeer>> {
        let mut peers = Vec::new();
        for file in files(&lab.store().join("envelopes"))? {
            let content: Value = serde_json::from_slice(&std::fs::read(file)?)?;
            let envelopes = content.get("envelopes").and_then(Value::as_array);
            let first = envelopes
                .and_then(|all| all.first())
                .and_then(Value::as_str);
            let bytes = Base64::decode_vec(first.context("no envelope")?);
            let bytes = bytes.map_err(|_| anyhow!("no base64"))?;
            peers.push(self.verify(&Envelope::from_der(&bytes)?)?);
        }
        Ok(peers)
    }
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// A new generation of the node, and the file in the store that publishes it.
fn generation(
    trust: &Trust,
    lab: &Lab,
    node: &Node,
) -> Result<(OwnGeneration, (std::path::PathBuf, Vec<u8>))> {
    let file: Value = serde_json::from_slice(&node.read("/var/lib/sotto/identity.json")?)?;
    let pem = file.get("key").and_then(Value::as_str);
    let identity = IdentityKey::from_pem(pem.context("no key in identity.json")?)?;
    let (certificate, uid) = files(&lab.store().join("certificates"))?
        .iter()
        .filter_map(|path| NodeCertificate::from_der(&std::fs::read(path).ok()?).ok())
        .find(|certificate| certificate.terms().key == identity.public())
        .map(|certificate| (certificate.clone(), certificate.terms().identity.uid))
        .context("the node has no certificate")?;
    let mut rng = ChaCha12Rng::from_seed(seed()?);
    let key = TunnelKey::generate(&mut rng);
    let terms = certificate.terms();
    let statement = KeyStatement {
        identity: terms.identity.clone(),
        certificate_serial: terms.serial,
        identity_key_hash: identity.public().hash(),
        // Above what its honest daemon made a moment ago.
        generation: Generation(trust.now.0 + 10),
        tunnel_key: key.public(),
        endpoints: terms.addresses.clone(),
        base_port: TUNNEL_PORT,
        lanes: 1,
    };
    let envelope = Envelope::seal(&statement, &identity, &key, &certificate)?;
    let text = Base64::encode_string(&envelope.to_der());
    let content = serde_json::to_vec(&json!({ "version": 1, "envelopes": [text] }))?;
    let own = OwnGeneration {
        verified: trust.verify(&envelope)?,
        key,
        highest_stamp: None,
    };
    let path = lab.store().join("envelopes").join(format!("{uid}.json"));
    Ok((own, (path, content)))
}

fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}

/// Control side, lane and socket of the rogue.
struct Machine {
    control: Control,
    lane: Lane,
    out: Out,
    victim: IpAddr,
}

struct Out(UdpSocket);

impl Wire for Out {
    fn send(&mut self, run: Run<'_>) {
        for datagram in run.datagrams.chunks(run.segment.max(1)) {
            let _ = self.0.send_to(datagram, run.destination);
        }
    }
}

impl Machine {
    fn new(
        socket: UdpSocket,
        victim: IpAddr,
        own: &OwnGeneration,
        peers: &[VerifiedPeer],
    ) -> Result<Self> {
        let now = now()?;
        let rng = Box::new(ChaCha12Rng::from_seed(seed()?));
        let settings = Settings::ordinary(1, AesInstructions::Present);
        let mut control = Control::new(settings, rng, now);
        tell_time(&mut control, now)?;
        control.handle_generation(own, now)?;
        control.handle_peers(peers, now);
        let lane = LaneSettings {
            index: LaneIndex(0),
            lanes: 1,
            mtu: Mtu(1420),
            udp: UdpJoining::Refused,
        };
        Ok(Self {
            control,
            lane: Lane::new(lane, Arc::new(LaneCounters::default())),
            out: Out(socket),
            victim,
        })
    }

    /// Until the other end of the channel is gone.
    fn run(mut self, asked: &Receiver<Vec<u8>>) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let now = now()?;
            tell_time(&mut self.control, now)?;
            if let Ok((length, source)) = self.out.0.recv_from(&mut buffer) {
                let batch = buffer.get_mut(..length).unwrap_or_default();
                self.lane.inbound(source, batch, length, now).for_each(drop);
            }
            match asked.recv_timeout(TURN) {
                Ok(frame) => self.lane.outbound(&frame, now, &mut self.out),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.control.handle_timeout(now);
            self.settle(now)?;
            self.lane.flush(now, &mut self.out);
        }
    }

    /// Carries messages between the two sides until neither has any.
    fn settle(&mut self, now: Moment) -> Result<()> {
        while let Some(event) = self.lane.poll_event() {
            self.control.handle_lane_event(event, now);
        }
        while let Some(transmit) = self.control.poll_transmit() {
            let _ = self.out.0.send_to(&transmit.payload, transmit.destination);
        }
        while let Some((_, command)) = self.control.poll_lane_command() {
            let command = self.lie(command)?;
            self.lane.handle_command(command, now, &mut self.out);
        }
        while self.control.poll_event().is_some() {}
        Ok(())
    }

    /// Makes every address the rogue's own, except its victim's.
    fn lie(&self, command: LaneCommand) -> Result<LaneCommand> {
        let LaneCommand::Owners(table) = command else {
            return Ok(command);
        };
        let Some(owner @ Owner::Peer(_)) = table.owner(self.victim) else {
            return Ok(LaneCommand::Owners(table));
        };
        let others = match self.victim {
            IpAddr::V4(victim) => {
                let number = u32::from(victim);
                let before = IpAddr::from([0, 0, 0, 0])..=Ipv4Addr::from(number - 1).into();
                let after = Ipv4Addr::from(number + 1).into()..=IpAddr::from([255; 4]);
                [before, after]
            }
            IpAddr::V6(victim) => {
                let number = u128::from(victim);
                let before = IpAddr::from([0; 16])..=std::net::Ipv6Addr::from(number - 1).into();
                let after = std::net::Ipv6Addr::from(number + 1).into()..=IpAddr::from([255; 16]);
                [before, after]
            }
        };
        let lies = others.map(|range| (Owner::Own, range));
        let truth = (owner, self.victim..=self.victim);
        let table = OwnerTable::new(lies.into_iter().chain([truth]))?;
        Ok(LaneCommand::Owners(Arc::new(table)))
    }
}

fn now() -> Result<Moment> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(Moment::since_boot(Duration::from(time)))
}

fn tell_time(control: &mut Control, now: Moment) -> Result<()> {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    control.handle_clock(wall, UnixTime(wall.as_secs()), now);
    Ok(())
}
