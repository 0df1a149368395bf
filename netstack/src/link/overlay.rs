//! The URLs of overlay networks: `vxlan://`, `vxvde://`, `udp://`.

use super::syntax::{LinkUrlError, Parts};
use super::url::mtu;
use crate::overlay::{Encapsulation, GROUP_V4, GROUP_V6, OverlayConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The schemes, with an example of each.
pub(super) const SCHEMES: [(&str, &str); 3] = [
    ("vxlan", "vxlan://239.0.0.1"),
    ("vxvde", "vxvde://234.0.0.1"),
    ("udp", "udp://7001->192.0.2.1:7002"),
];
const GROUP_OPTIONS: &str =
    "bind, expiretime, hashsize, if, mtu, port, rcvbuf, remote, ttl, v4, v6, vni";
const UDP_OPTIONS: &str = "mtu, rcvbuf, ttl";
/// The networks of VXLAN, and of groups of users that VDE makes networks of.
const VNI: RangeInclusive<u32> = 0..=0xff_ffff;

type Result<T> = std::result::Result<T, LinkUrlError>;

/// What the options say, before it is put together.
#[derive(Default)]
struct Options {
    family: Option<Family>,
    group_of_users: Option<u32>,
    has_vni: bool,
    remotes: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The configuration in a URL with one of the schemes.
pub(super) fn config(scheme: &str, parts: Parts) -> Result<OverlayConfig> {
    let name = String::from_utf8(parts.name).map_err(|_| wrong("the name is not UTF-8"))?;
    let mut config = match scheme {
        "vxlan" => OverlayConfig::vxlan(),
        "vxvde" => OverlayConfig::vxvde(),
        _ => ends(&name)?,
    };
    let known = match (scheme, config.encapsulation) {
        ("vxvde", _) => format!("grp, {GROUP_OPTIONS}"),
        (_, Encapsulation::None) => UDP_OPTIONS.to_owned(),
        _ => GROUP_OPTIONS.to_owned(),
    };
    let mut options = Options::default();
    for (key, value) in parts.options {
        if !known.split(", ").any(|known| known == key) {
            return Err(wrong(format!("\"{key}\" is no option of {scheme}://: {known}")));
        }
        let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
        set(&mut config, &mut options, &key, value.as_deref())?;
    }
    if config.encapsulation == Encapsulation::None {
        return Ok(config);
    }
    if let Some(remotes) = &options.remotes {
        config.remotes =
            remotes.split(',').map(|it| remote(it, config.port)).collect::<Result<_>>()?;
    }
    config.group = group(&name, &options, config.remotes.is_empty())?;
    if let Some(gid) = options.group_of_users {
        config.group = config.group.map(|group| of_users(group, gid));
        config.vni = if options.has_vni { config.vni } else { gid & VNI.end() };
    }
    same_family(&config)?;
    Ok(config)
}

fn set(
    config: &mut OverlayConfig,
    options: &mut Options,
    key: &str,
    value: Option<&str>,
) -> Result<()> {
    match key {
        "mtu" => config.mtu = Some(mtu(value)?.into()),
        "port" => config.port = number(key, value, 1..=65_535, "14789")? as u16,
        "ttl" => config.ttl = Some(number(key, value, 1..=255, "1")? as u8),
        "vni" => (config.vni, options.has_vni) = (number(key, value, VNI, "42")?, true),
        "hashsize" => {
            config.addresses_max = number(key, value, 1..=1 << 20, "1024")? as usize;
        }
        "expiretime" => {
            let seconds = number(key, value, 1..=u32::MAX, "128")?;
            config.address_age = Duration::from_secs(seconds.into());
        }
        "rcvbuf" => config.recv_buffer_bytes = size(key, value)?,
        "if" => config.interface = Some(text(key, value, "eth0")?.to_owned()),
        "bind" => config.bind = Some(parsed(key, value, "192.0.2.1")?),
        "remote" => options.remotes = Some(text(key, value, "192.0.2.1")?.to_owned()),
        "grp" => options.group_of_users = Some(group_id(value)?),
        // One of the two flags.
        _ => {
            if value.is_some() {
                return Err(wrong(format!("{key} has no value")));
            }
            let family = if key == "v4" { Family::V4 } else { Family::V6 };
            if options.family.replace(family).is_some_and(|other| other != family) {
                return Err(wrong("v4 beside v6: all datagrams are of one family"));
            }
        }
    }
    Ok(())
}

/// The multicast group: that of the name, or else VDE's unless there are fixed peers.
fn group(name: &str, options: &Options, has_no_peers: bool) -> Result<Option<IpAddr>> {
    if name.is_empty() {
        let group = match options.family {
            Some(Family::V6) => IpAddr::V6(GROUP_V6),
            _ => IpAddr::V4(GROUP_V4),
        };
        return Ok(has_no_peers.then_some(group));
    }
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    let Ok(address) = bare.parse::<IpAddr>() else {
        let message = format!("\"{name}\" is no multicast group, for example 239.0.0.1");
        return Err(wrong(message));
    };
    if !address.is_multicast() {
        let message =
            format!("{address} is no multicast group: a peer is named by remote={address}");
        return Err(wrong(message));
    }
    let is_other = match options.family {
        Some(Family::V4) => address.is_ipv6(),
        Some(Family::V6) => address.is_ipv4(),
        None => false,
    };
    match is_other {
        true => Err(wrong(format!("{address} is of another family than the flag"))),
        false => Ok(Some(address)),
    }
}

/// The group of a group of users: its last three bytes are the number, as in VDE.
fn of_users(group: IpAddr, gid: u32) -> IpAddr {
    let [_, bytes @ ..] = gid.to_be_bytes();
    match group {
        IpAddr::V4(group) => {
            let mut octets = group.octets();
            octets[1..].copy_from_slice(&bytes);
            Ipv4Addr::from(octets).into()
        }
        IpAddr::V6(group) => {
            let mut octets = group.octets();
            octets[13..].copy_from_slice(&bytes);
            Ipv6Addr::from(octets).into()
        }
    }
}

fn same_family(config: &OverlayConfig) -> Result<()> {
    let addresses = config.group.into_iter().chain(config.remotes.iter().map(SocketAddr::ip));
    let all: Vec<IpAddr> = addresses.chain(config.bind).collect();
    match all.iter().find(|it| it.is_ipv4() != all[0].is_ipv4()) {
        Some(other) => Err(wrong(format!("{} and {other} are of different families", all[0]))),
        None => Ok(()),
    }
}

/// `[ADDRESS:]PORT->ADDRESS:PORT`
fn ends(name: &str) -> Result<OverlayConfig> {
    let example = SCHEMES[2].1;
    let broken =
        || wrong(format!("\"{name}\" is not [ADDRESS:]PORT->ADDRESS:PORT, for example {example}"));
    let (near, far) = name.split_once("->").ok_or_else(broken)?;
    let far: SocketAddr = far.parse().map_err(|_| broken())?;
    let (bind, port) = match near.parse::<SocketAddr>() {
        Ok(near) => (Some(near.ip()), near.port()),
        Err(_) => (None, near.parse().map_err(|_| broken())?),
    };
    let config = OverlayConfig { bind, ..OverlayConfig::udp(port, far) };
    same_family(&config)?;
    Ok(config)
}

/// `ADDRESS` or `ADDRESS:PORT`
fn remote(value: &str, port: u16) -> Result<SocketAddr> {
    let address = value.parse::<IpAddr>().map(|address| SocketAddr::new(address, port));
    address.or_else(|_| value.parse()).map_err(|_| {
        let message = format!("remote={value} is no address, for example remote=192.0.2.1");
        wrong(message)
    })
}

/// The number of a group of users, which may be named; without a value that of this process.
fn group_id(value: Option<&str>) -> Result<u32> {
    let Some(value) = value else { return Ok(rustix::process::getegid().as_raw()) };
    if let Ok(gid) = value.parse() {
        return Ok(gid);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let mut lines = groups.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut fields| {
        (fields.next() == Some(value)).then(|| fields.nth(1).and_then(|gid| gid.parse().ok()))
    });
    found.flatten().ok_or_else(|| wrong(format!("grp={value} is no group of /etc/group")))
}

fn number(
    key: &str,
    value: Option<&str>,
    range: RangeInclusive<u32>,
    example: &str,
) -> Result<u32> {
    let number = value.and_then(|value| value.parse().ok()).filter(|it| range.contains(it));
    number.ok_or_else(|| {
        let given = value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"));
        let (min, max) = range.into_inner();
        wrong(format!("{given} is not a number from {min} to {max}, for example {key}={example}"))
    })
}

/// A number of bytes, with a suffix of VDE's: k, m, g or t.
fn size(key: &str, value: Option<&str>) -> Result<usize> {
    let broken = || {
        let given = value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"));
        wrong(format!("{given} is not a number of bytes, for example {key}=4m"))
    };
    let value = value.ok_or_else(broken)?;
    let power = value.chars().last().and_then(|last| "kmgt".find(last.to_ascii_lowercase()));
    let digits = if power.is_some() { &value[..value.len() - 1] } else { value };
    let bytes = digits.parse::<usize>().ok();
    let bytes = bytes.and_then(|it| it.checked_mul(1 << (10 * power.map_or(0, |it| it + 1))));
    // What the kernel takes as a number.
    bytes.filter(|bytes| (1..=i32::MAX as usize).contains(bytes)).ok_or_else(broken)
}

fn text<'a>(key: &str, value: Option<&'a str>, example: &str) -> Result<&'a str> {
    value.ok_or_else(|| wrong(format!("{key} has no value, for example {key}={example}")))
}

fn parsed<T: FromStr>(key: &str, value: Option<&str>, example: &str) -> Result<T> {
    let value = text(key, value, example)?;
    let message = || wrong(format!("{key}={value} is no address, for example {key}={example}"));
    value.parse().map_err(|_| message())
}

fn wrong(message: impl Into<String>) -> LinkUrlError {
    LinkUrlError::new(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::syntax::parts_of_name;

    fn of(url: &str) -> Result<OverlayConfig> {
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        config(scheme, parts_of_name(rest)?)
    }

    #[test]
    fn a_url_is_the_network_and_its_options() {
        let tutorial = of("vxvde://234.0.0.1").expect("right");
        let group = Some("234.0.0.1".parse().unwrap());
        assert_eq!(tutorial, OverlayConfig { group, ..OverlayConfig::vxvde() });

        let v6 = of("vxvde:///v6/if=v0").expect("right");
        assert_eq!(v6.group, Some("ff05:56de::1".parse().unwrap()));
        assert_eq!((v6.port, v6.interface.as_deref()), (14789, Some("v0")));

        let peers = of("vxlan:///remote=192.0.2.1,192.0.2.2:9/vni=42/bind=192.0.2.3/ttl=9");
        let peers = peers.expect("right");
        let expected = ["192.0.2.1:4789", "192.0.2.2:9"].map(|it| it.parse().unwrap());
        assert_eq!((peers.group, &peers.remotes[..]), (None, &expected[..]));
        assert_eq!(
            (peers.vni, peers.ttl, peers.bind),
            (42, Some(9), Some("192.0.2.3".parse().unwrap()))
        );

        let sizes = of("vxlan://ff05::1/rcvbuf=2m/hashsize=9/expiretime=7/mtu=1500/port=4790");
        let sizes = sizes.expect("right");
        assert_eq!((sizes.recv_buffer_bytes, sizes.addresses_max, sizes.port), (2 << 20, 9, 4790));
        assert_eq!((sizes.address_age, sizes.mtu), (Duration::from_secs(7), Some(1500)));
    }

    #[test]
    fn a_group_of_users_has_a_group_and_a_network() {
        let users = of("vxvde:///grp=1000").expect("right");
        assert_eq!((users.group, users.vni), (Some("239.0.3.232".parse().unwrap()), 1000));
        let users = of("vxvde:///grp=root/vni=5/v6").expect("right");
        assert_eq!((users.group, users.vni), (Some("ff05:56de::".parse().unwrap()), 5));
        assert!(of("vxvde:///grp").is_ok());
    }

    #[test]
    fn bare_frames_have_two_ends() {
        let config = of("udp://7001->127.0.0.1:7002").expect("right");
        assert_eq!(config, OverlayConfig::udp(7001, "127.0.0.1:7002".parse().unwrap()));
        let config = of("udp://[::1]:7001->[::1]:7002/mtu=1400").expect("right");
        assert_eq!((config.bind, config.mtu), (Some("::1".parse().unwrap()), Some(1400)));
    }

    #[test]
    fn each_mistake_in_the_url_of_an_overlay_is_named() {
        for (url, expected) in [
            ("vxlan://here", "\"here\" is no multicast group, for example 239.0.0.1"),
            ("vxlan://192.0.2.1", "192.0.2.1 is no multicast group: a peer is named by remote="),
            ("vxlan://239.0.0.1/v6", "239.0.0.1 is of another family than the flag"),
            ("vxlan:///v4/v6", "v4 beside v6"),
            ("vxlan:///v4=1", "v4 has no value"),
            ("vxlan:///grp=1", "\"grp\" is no option of vxlan://: bind, expiretime"),
            ("vxlan:///vni=16777216", "vni=16777216 is not a number from 0 to 16777215"),
            ("vxlan:///port=0", "port=0 is not a number from 1 to 65535"),
            ("vxlan:///ttl", "ttl is not a number from 1 to 255, for example ttl=1"),
            ("vxlan:///rcvbuf=4x", "rcvbuf=4x is not a number of bytes, for example rcvbuf=4m"),
            ("vxlan:///rcvbuf=9999999999t", "is not a number of bytes"),
            ("vxlan:///remote=x", "remote=x is no address, for example remote=192.0.2.1"),
            ("vxlan:///remote=192.0.2.1/bind=::1", "192.0.2.1 and ::1 are of different families"),
            ("vxlan:///bind", "bind has no value, for example bind=192.0.2.1"),
            ("vxlan:///mtu=9", "mtu=9 is not a number of bytes"),
            ("vxvde:///grp=no_such_group", "grp=no_such_group is no group of /etc/group"),
            ("udp://7001", "\"7001\" is not [ADDRESS:]PORT->ADDRESS:PORT, for example udp://"),
            ("udp://7001->127.0.0.1", "\"7001->127.0.0.1\" is not"),
            ("udp://[::1]:1->127.0.0.1:2", "127.0.0.1 and ::1 are of different families"),
            ("udp://1->127.0.0.1:2/vni=1", "\"vni\" is no option of udp://: mtu, rcvbuf, ttl"),
        ] {
            let error = of(url).expect_err(url).to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
