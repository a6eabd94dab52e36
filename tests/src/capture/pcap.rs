//! The file format of `tcpdump -w`: a header of 24 bytes, then records.

use anyhow::{Context, Result, ensure};

/// Microsecond and nanosecond magic numbers, as `tcpdump` writes them on a little-endian machine.
const MAGIC: [[u8; 4]; 2] = [[0xd4, 0xc3, 0xb2, 0xa1], [0x4d, 0x3c, 0xb2, 0xa1]];

/// LINKTYPE_ETHERNET and LINKTYPE_RAW (a tun without headers).
const ETHERNET: u32 = 1;
const RAW: u32 = 101;

/// A captured packet.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Time in seconds since 1970.
    pub seconds: f64,
    /// The Ethernet type, or that of the IP version where the link has no Ethernet header.
    pub kind: u16,
    /// The whole frame, with the link's header.
    pub frame: Vec<u8>,
    /// Length of the link's header.
    header: usize,
}

/// Reads all packets of a capture; an unfinished last record is left out.
///
/// # Errors
/// When the bytes are no capture of a link type that labs have.
pub fn packets(bytes: &[u8]) -> Result<Vec<Packet>> {
    let (header, mut rest) = bytes
        .split_first_chunk::<24>()
        .context("a capture has no header")?;
    ensure!(
        MAGIC.iter().any(|magic| header.starts_with(magic)),
        "no capture of tcpdump"
    );
    let link = word(header, 20)?;
    ensure!(
        link == ETHERNET || link == RAW,
        "a capture of link type {link}"
    );
    let mut found = Vec::new();
    while let Some((record, after)) = rest.split_first_chunk::<16>() {
        let length = usize::try_from(word(record, 8)?)?;
        let Some((frame, after)) = after.split_at_checked(length) else {
            break;
        };
        let seconds = f64::from(word(record, 0)?) + f64::from(word(record, 4)?) / 1e6;
        found.extend(packet(seconds, link, frame));
        rest = after;
    }
    Ok(found)
}

impl Packet {
    /// What follows the link's header.
    pub fn body(&self) -> &[u8] {
        self.frame.get(self.header..).unwrap_or_default()
    }
}

fn packet(seconds: f64, link: u32, frame: &[u8]) -> Option<Packet> {
    let (kind, header) = if link == RAW {
        let version = frame.first()? >> 4;
        (if version == 6 { 0x86dd } else { 0x0800 }, 0)
    } else {
        let [.., high, low] = *frame.first_chunk::<14>()?;
        (u16::from_be_bytes([high, low]), 14)
    };
    Some(Packet {
        seconds,
        kind,
        frame: frame.to_vec(),
        header,
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let slice = bytes.get(at..at + 4).context("a capture is cut short")?;
    Ok(u32::from_le_bytes(slice.try_into()?))
}
