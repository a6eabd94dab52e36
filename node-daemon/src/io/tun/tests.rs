use super::*;
use crate::io::namespace::{in_namespace, ip};

#[test]
fn a_name_that_no_interface_can_have_is_refused_before_the_kernel_sees_it() {
    for name in ["", "sixteen-letters-", "a\0b"] {
        assert!(
            matches!(interface_request(name), Err(TunError::Name { .. })),
            "{name:?}"
        );
    }
    assert!(interface_request("fifteen-letters").is_ok());
}

#[test]
fn a_missing_device_says_how_to_get_it() {
    let error = open_error(io::Error::from_raw_os_error(libc::ENOENT));
    assert!(error.to_string().contains("load the kernel module"));
    let error = open_error(io::Error::from_raw_os_error(libc::EPERM));
    assert!(error.to_string().contains("run as root"));
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn queues_attach_to_one_device_that_outlives_them() {
    in_namespace(|| {
        let first = TunQueue::open("sotto0").unwrap();
        let second = TunQueue::open("sotto0").unwrap();
        drop((first, second));

        let again = TunQueue::open("sotto0").unwrap();

        assert_eq!(again.udp(), UdpJoining::Accepted, "Linux 6.2 or newer");
        ip("link show sotto0");
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_device_that_is_not_ours_is_refused_with_the_cure() {
    in_namespace(|| {
        for device in [
            "tuntap add so0 mode tun",
            "tuntap add so0 mode tun vnet_hdr",
            "tuntap add so0 mode tap multi_queue vnet_hdr",
            "link add so0 type bridge",
        ] {
            ip(device);
            let error = TunQueue::open("so0").err().unwrap();
            assert!(
                error.to_string().contains("ip link delete so0"),
                "{device}: {error}"
            );
            ip("link delete so0");
        }
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_deleted_device_is_gone_and_a_missing_frame_is_not() {
    in_namespace(|| {
        let queue = TunQueue::open("sotto0").unwrap();
        ip("link set sotto0 up");
        let mut frame = vec![0; LONGEST_FRAME];
        let error = loop {
            // The kernel's own first packets (router solicitations) come out.
            if let Err(error) = queue.read(&mut frame) {
                break error;
            }
        };
        assert!(!is_gone(&error), "{error}");

        ip("link delete sotto0");

        assert!(is_gone(&queue.read(&mut frame).unwrap_err()));
    });
}
