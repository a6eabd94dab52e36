//! The tun device: one queue of it, with super-packets and checksums left to us.
//!
//! The `tun` crate cannot do this: 0.8 refuses more than one queue, and sets no offloads. `tun-rs`
//! can, but fixes the offload mask and copies into buffers per packet, while a lane reads and
//! writes super-packets where they are split, sealed and opened. Hence these few calls of our own.
//!
//! The device is persistent and always multi-queue: a single-queue one can never be changed, and a
//! device that outlives its daemon is what keeps pods' packets off the uplink. Whoever opens it
//! holds the daemon's lock already, as the kernel does not refuse a second opener.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use libc::{c_int, c_uint, c_ulong};
use thiserror::Error;
use tracing::info;
use tunnel_core::offload::coalesce::UdpJoining;
use tunnel_core::offload::vnet::VNET_HEADER;

const CLONE_DEVICE: &str = "/dev/net/tun";

/// The kind of device: IP packets, a header that describes super-packets, several queues.
const FLAGS: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// Flags that have to be as in `FLAGS` on a device that was there already.
const COMPARED: c_int = FLAGS | libc::IFF_TAP | libc::IFF_NAPI | libc::IFF_NAPI_FRAGS;

const OFFLOAD_TCP: c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Both or neither: the kernel refuses one alone.
const OFFLOAD_UDP: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Most pieces of one frame: a joined frame has up to 512 segments.
const MOST_PIECES: usize = 520;

/// Longest frame: header and the longest IP packet.
pub(crate) const LONGEST_FRAME: usize = VNET_HEADER + 65_535;

/// Why a queue could not be opened.
#[derive(Debug, Error)]
pub(crate) enum TunError {
    /// No `/dev/net/tun`.
    #[error(
        "open {CLONE_DEVICE}: load the kernel module `tun`, or mount the device into the container"
    )]
    Missing {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It may not be opened.
    #[error("open {CLONE_DEVICE}: run as root, and allow the container this device")]
    Refused {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The name cannot be an interface's.
    #[error("attach to tun device {name:?}: an interface name has 1 to 15 bytes and no zero")]
    Name {
        /// The name.
        name: String,
    },
    /// CAP_NET_ADMIN is missing.
    #[error("attach to tun device {name}: give the daemon the capability CAP_NET_ADMIN")]
    Capability {
        /// The device.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is something else of this name.
    #[error(
        "attach to tun device {name}: an interface of this name has other flags (single queue, no vnet header, or no tun): remove it with `ip link delete {name}`"
    )]
    OtherDevice {
        /// The device.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was attached and is not what was asked for.
    #[error(
        "attach to tun device {name}: flags are {found:#06x} instead of {wanted:#06x}: remove it with `ip link delete {name}`"
    )]
    Flags {
        /// The device.
        name: String,
        /// What it has.
        found: c_int,
        /// What it has to have.
        wanted: c_int,
    },
    /// A setting was refused.
    #[error("set {setting} of tun device {name}: is this kernel older than 5.10?")]
    Setting {
        /// The device.
        name: String,
        /// What was to be set.
        setting: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// One queue of the tun device.
pub(crate) struct TunQueue {
    file: File,
    udp: UdpJoining,
}

impl TunQueue {
    /// Attaches a new queue, and makes the device if it is not there. The device is left down and
    /// without addresses: that is the guard's.
    ///
    /// # Errors
    /// Whatever the kernel refuses, with the cure.
    pub(crate) fn open(name: &str) -> Result<TunQueue, TunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(CLONE_DEVICE)
            .map_err(open_error)?;
        attach(&file, name)?;
        let setting = |setting, request, value| {
            set(&file, request, value).map_err(|source| TunError::Setting {
                name: name.to_owned(),
                setting,
                source,
            })
        };
        setting("header length", libc::TUNSETVNETHDRSZ, VNET_HEADER as c_int)?;
        // Before anything else uses the device: the mask is the device's, not the queue's, and
        // setting it in two steps would take UDP away from a queue that is in use.
        let udp = if set_value(
            &file,
            libc::TUNSETOFFLOAD,
            (OFFLOAD_TCP | OFFLOAD_UDP).into(),
        )
        .is_ok()
        {
            UdpJoining::Accepted
        } else {
            set_value(&file, libc::TUNSETOFFLOAD, OFFLOAD_TCP.into()).map_err(|source| {
                TunError::Setting {
                    name: name.to_owned(),
                    setting: "offloads",
                    source,
                }
            })?;
            info!(
                tun = name,
                "Kernel has no UDP segmentation on tun devices, older than 6.2"
            );
            UdpJoining::Refused
        };
        // Unlimited: what a lane writes is bounded by what it received.
        setting("send buffer", libc::TUNSETSNDBUF, c_int::MAX)?;
        set_value(&file, libc::TUNSETPERSIST, 1).map_err(|source| TunError::Setting {
            name: name.to_owned(),
            setting: "persistence",
            source,
        })?;
        Ok(TunQueue { file, udp })
    }

    /// Whether it takes UDP super-packets.
    pub(crate) fn udp(&self) -> UdpJoining {
        self.udp
    }

    /// Reads one frame; `WouldBlock` if there is none.
    ///
    /// # Errors
    /// See `is_gone` for the error that is final.
    pub(crate) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(frame)
    }

    /// Writes one frame that consists of these pieces.
    ///
    /// # Errors
    /// What the kernel does not take is lost; the next frame may pass.
    pub(crate) fn write<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); MOST_PIECES];
        let (mut count, mut length) = (0, 0);
        for piece in pieces {
            let slot = slices.get_mut(count).ok_or(io::ErrorKind::InvalidInput)?;
            *slot = IoSlice::new(piece);
            count += 1;
            length += piece.len();
        }
        let written = (&self.file).write_vectored(slices.get(..count).unwrap_or_default())?;
        if written == length {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether reading failed because the device was deleted or the queue detached.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::EBADF | libc::EIO | libc::ENODEV | libc::ENXIO)
    )
}

fn attach(file: &File, name: &str) -> Result<(), TunError> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = FLAGS as libc::c_short;
    control(file, libc::TUNSETIFF, &mut request).map_err(|source| {
        let name = name.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TunError::Capability { name, source },
            _ => TunError::OtherDevice { name, source },
        }
    })?;
    let mut request = interface_request(name)?;
    control(file, libc::TUNGETIFF, &mut request).map_err(|source| TunError::Setting {
        name: name.to_owned(),
        setting: "flags",
        source,
    })?;
    // SAFETY: TUNGETIFF has just written the flags, which are the union's member then.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let found = c_int::from(flags as u16) & COMPARED;
    if found != FLAGS {
        return Err(TunError::Flags {
            name: name.to_owned(),
            found,
            wanted: FLAGS,
        });
    }
    Ok(())
}

fn interface_request(name: &str) -> Result<libc::ifreq, TunError> {
    // SAFETY: all-zero bytes are a valid `ifreq`: an empty name and a union of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero and ends the name.
    let fits = !name.is_empty() && name.len() < request.ifr_name.len() && !name.contains('\0');
    if !fits {
        return Err(TunError::Name {
            name: name.to_owned(),
        });
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn open_error(source: io::Error) -> TunError {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TunError::Missing { source },
        _ => TunError::Refused { source },
    }
}

fn control(file: &File, request: libc::Ioctl, argument: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both requests that are made with it read and write one `ifreq`, which lives longer
    // than the call.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument)) })
}

fn set(file: &File, request: libc::Ioctl, value: c_int) -> io::Result<()> {
    // SAFETY: the requests that are made with it read one `int`, which lives longer than the call.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_ref(&value)) })
}

fn set_value(file: &File, request: libc::Ioctl, value: c_ulong) -> io::Result<()> {
    // SAFETY: the requests that are made with it take a bare number and no pointer.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), request, value) })
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
