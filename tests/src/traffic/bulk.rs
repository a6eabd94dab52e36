//! Many bytes over one connection, and the kernel's own count of wrong checksums.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::lab::{Place, Pod};

/// Bytes handed to the kernel at a time.
const BLOCK: usize = 1 << 18;

/// How long a stream may stand still.
const STALL: Duration = Duration::from_secs(20);

/// A SHA-256 digest.
pub type Sum = [u8; 32];

/// Sends bytes that never repeat over one connection; returns the digests of both ends.
///
/// # Errors
/// When the connection stalls for 20 s.
pub fn bulk(from: &Pod, to: &Pod, address: IpAddr, length: usize) -> Result<(Sum, Sum)> {
    let listener = to.inside(|| Ok(TcpListener::bind((address, 0))?))?;
    let target = listener.local_addr()?;
    let receiver = std::thread::spawn(move || receive(&listener));
    let stream = from.inside(|| Ok(TcpStream::connect_timeout(&target, STALL)?))?;
    let sent = send(stream, length).with_context(|| format!("send to {address}"))?;
    let heard = receiver
        .join()
        .map_err(|_| anyhow!("the receiver panicked"))??;
    Ok((sent, heard))
}

fn send(mut stream: TcpStream, length: usize) -> Result<Sum> {
    stream.set_write_timeout(Some(STALL))?;
    let mut block = vec![0; BLOCK];
    getrandom::fill(&mut block)?;
    let mut sum = Sha256::new();
    let mut left = length;
    let mut number: u64 = 0;
    while left > 0 {
        // Random bytes once, then a number in each: no two blocks are equal.
        if let Some(place) = block.first_chunk_mut() {
            *place = number.to_le_bytes();
        }
        number += 1;
        let part = block.get(..left.min(BLOCK)).unwrap_or_default();
        stream.write_all(part)?;
        sum.update(part);
        left -= part.len();
    }
    Ok(sum.finalize().into())
}

fn receive(listener: &TcpListener) -> Result<Sum> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STALL))?;
    let mut sum = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let length = stream.read(&mut block)?;
        if length == 0 {
            return Ok(sum.finalize().into());
        }
        sum.update(block.get(..length).unwrap_or_default());
    }
}

/// The kernel's counters of wrong checksums that are not 0, as `nstat` shows them.
///
/// # Errors
/// When `nstat` cannot be run.
pub fn checksum_errors(place: &Place) -> Result<String> {
    let shown = place.run("nstat", &["-asz"])?;
    let wrong: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("Csum") && line.split_whitespace().nth(1) != Some("0"))
        .collect();
    anyhow::ensure!(
        shown.contains("CsumErrors"),
        "nstat shows no checksum counters"
    );
    Ok(wrong.join(", "))
}
