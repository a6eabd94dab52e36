//! The capture filter that counts clear pod packets on their way out of an underlay interface.
//!
//! Classic BPF, run by the kernel on each packet at the moment of sending (so a later change to
//! shared memory cannot fool it), on a datagram packet socket: offset 0 is the IP header.

use std::net::IpAddr;

use node_identity::{PodCidr, PodRanges};

/// One instruction: the fields of the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Operation.
    pub(crate) code: u16,
    /// Instructions to skip when the comparison holds.
    pub(crate) if_true: u8,
    /// Instructions to skip when it does not.
    pub(crate) if_false: u8,
    /// Operand.
    pub(crate) operand: u32,
}

// Codes and offsets of the kernel's filter.h and bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const PACKET_OUTGOING: u32 = 4;

/// Bytes kept of a packet that matches: enough for an IPv6 header.
pub(crate) const KEPT: u32 = 64;

/// Offsets of source and destination in the IP header.
const ADDRESSES_V4: [u32; 2] = [12, 16];
const ADDRESSES_V6: [u32; 2] = [8, 24];

/// Makes the filter that keeps outgoing packets with a pod source or destination.
pub(crate) fn leak_filter(pods: &PodRanges) -> Vec<Instruction> {
    let v4: Vec<_> = pods
        .ipv4()
        .flat_map(|range| ADDRESSES_V4.map(|at| test(range, at)))
        .flatten()
        .collect();
    let v6: Vec<_> = pods
        .ipv6()
        .flat_map(|range| ADDRESSES_V6.map(|at| test(range, at)))
        .flatten()
        .collect();
    let mut filter = vec![
        plain(LOAD_WORD, PACKET_TYPE),
        branch(JUMP_EQUAL, PACKET_OUTGOING, 1, 0),
        plain(RETURN, 0),
        plain(LOAD_BYTE, 0),
        plain(AND, 0xf0),
        branch(JUMP_EQUAL, 0x40, 0, 1),
        plain(JUMP, 1),
        plain(JUMP, length(&v4) + 1),
    ];
    filter.extend(v4);
    filter.push(plain(RETURN, 0));
    filter.push(branch(JUMP_EQUAL, 0x60, 1, 0));
    filter.push(plain(RETURN, 0));
    filter.extend(v6);
    filter.push(plain(RETURN, 0));
    filter
}

/// Compares one address with a range, word by word; falls through unless all of it matches.
fn test(range: &PodCidr, offset: u32) -> Vec<Instruction> {
    let words = words(range);
    let count = words.len();
    let mut tests = Vec::new();
    for (index, (word, mask)) in words.into_iter().enumerate() {
        // Each word takes three instructions; a mismatch skips the words left and the return.
        let rest = u8::try_from((count - index - 1) * 3 + 1).unwrap_or(u8::MAX);
        let at = u32::try_from(index * 4).unwrap_or(0);
        tests.push(plain(LOAD_WORD, offset + at));
        tests.push(plain(AND, mask));
        tests.push(branch(JUMP_EQUAL, word, 0, rest));
    }
    tests.push(plain(RETURN, KEPT));
    tests
}

/// The words of a range that its prefix covers, each with the mask of what counts.
fn words(range: &PodCidr) -> Vec<(u32, u32)> {
    let octets = match range.first() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let mut left = u32::from(range.prefix_len());
    let mut tests = Vec::new();
    for word in words {
        let bits = left.min(32);
        if bits == 0 {
            break;
        }
        tests.push((u32::from_be_bytes(*word), u32::MAX << (32 - bits)));
        left -= bits;
    }
    tests
}

fn plain(code: u16, operand: u32) -> Instruction {
    branch(code, operand, 0, 0)
}

fn branch(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        operand,
    }
}

fn length(instructions: &[Instruction]) -> u32 {
    u32::try_from(instructions.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
