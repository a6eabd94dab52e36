//! The ledger as it fits into a Secret: some 10 000 nodes in 1 MiB.
//!
//! The nodes are written field by field instead of node by node, and times as differences, so that
//! what is alike stands together; then it is compressed. Measured with random keys and UIDs and both
//! address families: 82 bytes a node, of which key and UID are 48.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Ledger;
use super::file::{MAX_BYTES, checked, seal, unseal};

/// Each is written as its distance from `issued`.
const TIMES: [&str; 3] = ["not_before", "not_after", "last_not_after"];

/// How far a serial's seconds are shifted.
const SERIAL_BITS: u32 = 24;

/// A ledger, its nodes turned on their side.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turned {
    rest: Map<String, Value>,
    uids: Vec<String>,
    nodes: BTreeMap<String, Vec<Value>>,
}

/// Packs a ledger.
pub(crate) fn pack(ledger: &Ledger) -> Vec<u8> {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
    #[expect(
        clippy::expect_used,
        reason = "map keys are strings and a vector takes every byte"
    )]
    {
        let whole = serde_json::to_value(ledger).expect("a ledger serializes");
        let body = Zeroizing::new(serde_json::to_vec(&turn(whole)).expect("so does this one"));
        packer.write_all(&seal(&body)).expect("packed");
        packer.finish().expect("packed")
    }
}

/// Reads what [`pack`] wrote; refuses what would grow beyond every ledger.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Ledger, String> {
    let mut whole = Zeroizing::new(Vec::new());
    DeflateDecoder::new(bytes)
        .take(MAX_BYTES)
        .read_to_end(&mut whole)
        .map_err(|_| "it is no packed ledger".to_owned())?;
    let turned = serde_json::from_slice(unseal(&whole)?).map_err(|error| error.to_string())?;
    checked(serde_json::from_value(turn_back(turned)))
}

fn turn(whole: Value) -> Turned {
    let mut rest = object(whole);
    let nodes: Vec<(String, Map<String, Value>)> = rest
        .remove("nodes")
        .map_or_else(Map::new, object)
        .into_iter()
        .map(|(uid, node)| (uid, object(node)))
        .collect();
    let fields: BTreeSet<String> = nodes
        .iter()
        .flat_map(|(_, node)| node.keys().cloned())
        .collect();
    let mut columns: BTreeMap<String, Vec<Value>> = fields
        .into_iter()
        .map(|field| (field, Vec::new()))
        .collect();
    let mut uids = Vec::with_capacity(nodes.len());
    for (uid, mut node) in nodes {
        relate(&mut node, u64::wrapping_sub);
        for (field, column) in &mut columns {
            column.push(node.remove(field).unwrap_or(Value::Null));
        }
        uids.push(uid);
    }
    Turned {
        rest,
        uids,
        nodes: columns,
    }
}

fn turn_back(turned: Turned) -> Value {
    let Turned {
        mut rest,
        uids,
        nodes: columns,
    } = turned;
    let mut columns: Vec<(String, std::vec::IntoIter<Value>)> = columns
        .into_iter()
        .map(|(field, column)| (field, column.into_iter()))
        .collect();
    let mut nodes = Map::new();
    for uid in uids {
        let next = |(field, column): &mut (String, std::vec::IntoIter<Value>)| {
            Some((field.clone(), column.next()?))
        };
        let mut node: Map<String, Value> = columns.iter_mut().filter_map(next).collect();
        relate(&mut node, u64::wrapping_add);
        nodes.insert(uid, Value::Object(node));
    }
    rest.insert("nodes".to_owned(), Value::Object(nodes));
    Value::Object(rest)
}

/// Turns times and serial into distances from `issued`, or back. Wraps, so that every number has one.
fn relate(node: &mut Map<String, Value>, how: fn(u64, u64) -> u64) {
    let Some(issued) = node.get("issued").and_then(Value::as_u64) else {
        return;
    };
    let change = |value: &mut Value, base: u64| {
        if let Some(number) = value.as_u64() {
            *value = how(number, base).into();
        }
    };
    for field in TIMES {
        if let Some(value) = node.get_mut(field) {
            change(value, issued);
        }
    }
    if let Some(value) = node.get_mut("serial") {
        change(value, issued.wrapping_shl(SERIAL_BITS));
    }
    if let Some(Value::Array(values)) = node.get_mut("recent") {
        for value in values {
            change(value, issued);
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
