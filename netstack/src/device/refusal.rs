//! The reasons for which the kernel refuses an interface, and their cures.

use super::driver::{NAME_BYTES_MAX, PATH as DRIVER};
use super::interface::Layer;
use ipnet::IpNet;
use std::io::{self, ErrorKind};

/// The refusal to open the driver.
pub(super) fn of_opening(error: &io::Error) -> io::Error {
    let (kind, cure) = match error.raw_os_error() {
        // Privileges in a namespace do not override the mode of a file outside of it.
        Some(EACCES) => (
            ErrorKind::PermissionDenied,
            format!("this user needs to read and write it (as root: chmod 0666 {DRIVER})"),
        ),
        // The device controller of the control group refuses it.
        Some(EPERM) => (
            ErrorKind::PermissionDenied,
            format!("allow the container this device (--device {DRIVER})"),
        ),
        Some(ENOENT | ENXIO | ENODEV) => (
            ErrorKind::NotFound,
            "load the kernel's tun module (modprobe tun), or hand the device into the container"
                .to_owned(),
        ),
        _ => return io::Error::new(error.kind(), format!("opening {DRIVER}: {error}")),
    };
    io::Error::new(kind, format!("opening {DRIVER}: {error}: {cure}"))
}

/// The refusal to make or to open an interface.
pub(super) fn of_making(error: &io::Error, name: &str, layer: Layer) -> io::Error {
    let kind = layer.name();
    let any = format!("a {kind} device");
    let name = if name.is_empty() { &any } else { name };
    let (kind, message) = match (error.raw_os_error(), error.kind()) {
        (_, ErrorKind::PermissionDenied) => (
            ErrorKind::PermissionDenied,
            format!(
                "making {name} needs the capability CAP_NET_ADMIN: run as root, in a network \
                 namespace of your own (unshare --user --map-root-user --net), or on an interface \
                 that root has made for you (ip tuntap add NAME mode {} user USER)",
                kind.to_lowercase()
            ),
        ),
        (_, ErrorKind::ResourceBusy) => (
            ErrorKind::AddrInUse,
            format!("{name} is in use by another program: choose another name"),
        ),
        (_, ErrorKind::InvalidInput) => (
            ErrorKind::AddrInUse,
            format!(
                "{name} is taken by an interface that is no {kind}, or has another number of queues \
                 (one, or several: multi_queue): choose another name"
            ),
        ),
        (Some(ENOTTY), _) => (
            ErrorKind::NotFound,
            format!("{DRIVER} is not the kernel's driver, which is the character device 10, 200"),
        ),
        (_, kind) => (kind, format!("making {name}: {error}")),
    };
    io::Error::new(kind, message)
}

/// The refusal to open a packet socket.
pub(super) fn of_packet_socket(error: &io::Error, name: &str) -> io::Error {
    let cure = match error.raw_os_error() {
        Some(EPERM) => ": it needs the capability CAP_NET_RAW in this network namespace",
        _ => "",
    };
    io::Error::new(error.kind(), format!("a packet socket on {name}: {error}{cure}"))
}

/// Checks a number of queues.
pub(super) fn check_queues(queues: usize) -> io::Result<()> {
    if (1..=QUEUES_MAX).contains(&queues) {
        return Ok(());
    }
    let message = format!("{queues} queues are out of range: from 1 to {QUEUES_MAX}");
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

/// Checks an MTU, in bytes.
pub(super) fn check_mtu(mtu: usize) -> io::Result<u16> {
    u16::try_from(mtu).ok().filter(|mtu| *mtu >= MTU_MIN).ok_or_else(|| {
        let message = format!("an MTU of {mtu} is out of range: from 68 to 65535 bytes");
        io::Error::new(ErrorKind::InvalidInput, message)
    })
}

/// The refusal of an MTU by the kernel.
pub(super) fn of_mtu(error: &io::Error, name: &str, mtu: u32) -> io::Error {
    let message = match error.raw_os_error() {
        Some(EPERM) => format!("changing the MTU to {mtu} needs the capability CAP_NET_ADMIN"),
        Some(EINVAL) => format!("the kernel takes no MTU of {mtu} for {name}"),
        _ => format!("MTU {mtu}: {error}"),
    };
    io::Error::new(error.kind(), message)
}

/// The refusal of an address for the interface.
pub(super) fn of_address(error: &io::Error, name: &str, address: &IpNet) -> io::Error {
    let is_ipv6 = address.addr().is_ipv6();
    let reason = match error.raw_os_error() {
        // EACCES of `disable_ipv6`, EAFNOSUPPORT and EOPNOTSUPP of a kernel without IPv6.
        Some(EACCES | EAFNOSUPPORT | EOPNOTSUPP) if is_ipv6 => format!(
            "IPv6 is disabled on {name}: leave the address out, or enable it \
             (sysctl net.ipv6.conf.{name}.disable_ipv6=0)"
        ),
        // RFC 8200 section 5: no link of IPv6 has less.
        Some(EINVAL) if is_ipv6 => {
            "the kernel refuses it: IPv6 needs an MTU of 1280 and an address of one host".to_owned()
        }
        Some(EINVAL) => "the kernel refuses it: it is not an address of one host".to_owned(),
        Some(EPERM) => format!("configuring {name} needs the capability CAP_NET_ADMIN"),
        Some(EEXIST) => format!("{name} has it already: name it once, or leave it out"),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{address}: {reason}"))
}

/// Checks a name as the kernel does, whose error for a bad name is that for a taken one.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    // The kernel replaces one "%d" by a number.
    let pattern = name.replacen("%d", "", 1);
    let is_valid = name.len() <= NAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && !pattern.contains(|c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_whitespace());
    if is_valid {
        return Ok(());
    }
    let message = format!(
        "\"{name}\" cannot be the name of an interface: at most {NAME_BYTES_MAX} bytes, \
         without '/', ':' or white space, and '%' only in one \"%d\""
    );
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

/// The least MTU of IPv4 (RFC 791).
const MTU_MIN: u16 = 68;

/// `MAX_TAP_QUEUES` of Linux.
const QUEUES_MAX: usize = 256;
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the refusal for each of these errors.
    fn assert_cures(refusal: impl Fn(&io::Error) -> io::Error, cures: &[(i32, ErrorKind, &str)]) {
        for (number, kind, cure) in cures {
            let refused = refusal(&io::Error::from_raw_os_error(*number));

            let text = refused.to_string();
            assert!(text.contains(cure), "{number}: {text}");
            assert_eq!(refused.kind(), *kind, "{number}: {text}");
        }
    }

    #[test]
    fn each_error_of_opening_the_driver_names_its_cure() {
        let cures = [
            (EACCES, ErrorKind::PermissionDenied, "chmod 0666 /dev/net/tun"),
            (EPERM, ErrorKind::PermissionDenied, "--device /dev/net/tun"),
            (ENOENT, ErrorKind::NotFound, "modprobe tun"),
            (ENXIO, ErrorKind::NotFound, "modprobe tun"),
            (ENODEV, ErrorKind::NotFound, "modprobe tun"),
        ];
        assert_cures(of_opening, &cures);
        for (number, ..) in cures {
            let text = of_opening(&io::Error::from_raw_os_error(number)).to_string();
            assert!(!text.contains("CAP_NET_ADMIN"), "{number}: {text}");
        }
    }

    #[test]
    fn each_error_of_making_an_interface_names_its_cure() {
        const EBUSY: i32 = 16;
        let cures = [
            (EPERM, ErrorKind::PermissionDenied, "making tun7 needs the capability CAP_NET_ADMIN"),
            (EPERM, ErrorKind::PermissionDenied, "ip tuntap add NAME mode tun user USER"),
            (EBUSY, ErrorKind::AddrInUse, "tun7 is in use by another program"),
            (EINVAL, ErrorKind::AddrInUse, "tun7 is taken by an interface that is no TUN"),
            (ENOTTY, ErrorKind::NotFound, "/dev/net/tun is not the kernel's driver"),
        ];
        assert_cures(|error| of_making(error, "tun7", Layer::Ip), &cures);
    }

    #[test]
    fn each_error_of_setting_up_an_interface_names_its_cure() {
        let cures = [
            (EPERM, ErrorKind::PermissionDenied, "MTU to 9000 needs the capability CAP_NET_ADMIN"),
            (EINVAL, ErrorKind::InvalidInput, "no MTU of 9000 for tun7"),
        ];
        assert_cures(|error| of_mtu(error, "tun7", 9000), &cures);
        let address: IpNet = "fd00::1/64".parse().unwrap();
        let cures = [
            (EACCES, ErrorKind::PermissionDenied, "fd00::1/64: IPv6 is disabled on tun7"),
            (EOPNOTSUPP, ErrorKind::Unsupported, "fd00::1/64: IPv6 is disabled on tun7"),
            (EPERM, ErrorKind::PermissionDenied, "CAP_NET_ADMIN"),
            (EINVAL, ErrorKind::InvalidInput, "IPv6 needs an MTU of 1280"),
            (EEXIST, ErrorKind::AlreadyExists, "tun7 has it already"),
        ];
        assert_cures(|error| of_address(error, "tun7", &address), &cures);
        let address: IpNet = "10.0.0.1/24".parse().unwrap();
        let text = of_address(&io::Error::from_raw_os_error(EACCES), "tun7", &address).to_string();
        assert!(!text.contains("IPv6"), "{text}");
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused() {
        for name in ["a/b", "a:b", "a b", ".", "..", "sixteen_letters_", "a%", "%s", "a%d%d", "a\0"]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["", "tun0", "a%d", "%d", "fifteen_letters", "ü"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
