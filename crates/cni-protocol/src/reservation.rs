//! A reservation: which addresses an attachment has, as it stands in a file.
//!
//! The plugin writes one per attachment, on tmpfs, before it makes the link. It says which network
//! namespace it was made for, so that whoever cleans up can tell a pod that lives from one that is
//! gone.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentKey, NameError};

/// The only version of the format so far.
const RESERVATION_VERSION: u32 = 1;

/// One attachment's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Whose they are.
    pub key: AttachmentKey,
    /// The addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The pod's network namespace.
    pub netns: NetnsIdentity,
}

/// What tells one network namespace from another: its file and the file's inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetnsIdentity {
    /// Where the runtime keeps it.
    pub path: String,
    /// The namespace's inode, the same under every path.
    pub inode: u64,
}

/// Why a reservation's file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    /// Not the JSON that is expected.
    #[error("decode reservation: is the file torn?")]
    Decode(#[source] serde_json::Error),
    /// A version of the format that this program does not know.
    #[error("read reservation: version {0} is unknown here")]
    Version(u32),
    /// A name outside its grammar.
    #[error("read reservation: a name {0}")]
    Name(NameError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u32,
    container_id: String,
    interface: String,
    addresses: Vec<IpAddr>,
    netns: NetnsIdentity,
}

impl Reservation {
    /// Reads the content of a reservation's file.
    ///
    /// # Errors
    /// When it is not one that [`Reservation::to_json`] gives.
    pub fn from_json(text: &[u8]) -> Result<Self, ReservationError> {
        let wire: Wire = serde_json::from_slice(text).map_err(ReservationError::Decode)?;
        if wire.version != RESERVATION_VERSION {
            return Err(ReservationError::Version(wire.version));
        }
        let container_id = wire.container_id.parse().map_err(ReservationError::Name)?;
        let interface = wire.interface.parse().map_err(ReservationError::Name)?;
        Ok(Self {
            key: AttachmentKey {
                container_id,
                interface,
            },
            addresses: wire.addresses,
            netns: wire.netns,
        })
    }

    /// The text to write.
    ///
    /// # Errors
    /// Never for a reservation that can be made; the encoder has the right to fail.
    pub fn to_json(&self) -> Result<String, ReservationError> {
        serde_json::to_string(&Wire {
            version: RESERVATION_VERSION,
            container_id: self.key.container_id.to_string(),
            interface: self.key.interface.to_string(),
            addresses: self.addresses.clone(),
            netns: self.netns.clone(),
        })
        .map_err(ReservationError::Decode)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reservation() -> Reservation {
        Reservation {
            key: AttachmentKey {
                container_id: "c0ffee".parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            addresses: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            netns: NetnsIdentity {
                path: "/var/run/netns/a".into(),
                inode: 4_026_532_000,
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = reservation().to_json().unwrap();

        assert_eq!(
            Reservation::from_json(text.as_bytes()).unwrap(),
            reservation()
        );
    }

    #[test]
    fn a_torn_or_foreign_file_is_refused() {
        let text = reservation().to_json().unwrap();
        for bad in [
            text.get(..text.len() - 5).unwrap().to_owned(),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("eth0", "../x"),
            String::new(),
        ] {
            assert!(Reservation::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn i5_no_bytes_make_the_reader_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reservation::from_json(&text);
        }
    }
}
