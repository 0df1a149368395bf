//! The configuration file of a WireGuard tunnel.

use arbitrary::Unstructured;
use netstack::IpNet;
use netstack::wireguard::{Config, ConfigError, Key};
use std::net::IpAddr;

/// What a file of right lines says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    addresses: Vec<IpNet>,
    name_servers: Vec<IpAddr>,
    search_domains: usize,
    mtu: Option<u16>,
    allowed: Vec<Vec<IpNet>>,
}

/// Parses the file that `data` describes, line by line, and `data` itself.
///
/// A file of right lines is what they say; otherwise the error names the first wrong one. The routes
/// of a file cover the allowed addresses of its peers and no others.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn wireguard_config(data: &[u8]) {
    let _ = String::from_utf8_lossy(data).parse::<Config>();
    let mut story = Unstructured::new(data);
    let key = Key::from_bytes([7; 32]).to_base64();
    let mut text = format!("[Interface]\nPrivateKey = {key}\n");
    let (mut expected, mut wrong) = (Contents::default(), None);
    let mut line = 3;
    // An error is the end of the data.
    // Of a wrong file only the lines up to that are read, and some more.
    while !story.is_empty() && line < wrong.map_or(200, |wrong| wrong + 8) {
        let Ok(next) = line_of(&mut story, &mut expected) else { break };
        text.push_str(&next.text);
        text.push('\n');
        if next.is_wrong {
            wrong.get_or_insert(line);
        }
        line += next.text.lines().count().max(1);
    }
    match (text.parse::<Config>(), wrong) {
        (Ok(config), None) => check(&config, &expected),
        (Err(error), Some(wrong)) => check_error(&error, wrong, &text),
        (result, wrong) => panic!("{result:?} and not line {wrong:?} of\n{text}"),
    }
}

struct Line {
    text: String,
    is_wrong: bool,
}

fn check(config: &Config, expected: &Contents) {
    let found = Contents {
        addresses: config.addresses.clone(),
        name_servers: config.name_servers.clone(),
        search_domains: config.search_domains.len(),
        mtu: config.mtu,
        allowed: config.peers.iter().map(|peer| peer.allowed_ips.clone()).collect(),
    };
    assert_eq!(&found, expected);
    let routes = config.routes();
    for allowed in expected.allowed.iter().flatten() {
        let covering = routes.iter().filter(|route| route.destination.contains(allowed));
        assert_eq!(covering.count(), 1, "{allowed} in {routes:?}");
    }
    let is_allowed = |address: IpAddr| {
        expected.allowed.iter().flatten().any(|allowed| allowed.contains(&address))
    };
    for route in &routes {
        assert!(is_allowed(route.destination.network()), "{route:?}");
        assert!(is_allowed(route.destination.broadcast()), "{route:?}");
    }
}

fn check_error(error: &ConfigError, wrong: usize, text: &str) {
    let shown = error.to_string();
    assert!(shown.starts_with(&format!("line {wrong}: ")), "{shown}, not line {wrong} of\n{text}");
}

/// A line, or a section with its first line, and what it adds.
fn line_of(story: &mut Unstructured<'_>, expected: &mut Contents) -> arbitrary::Result<Line> {
    let right = |text: String| Ok(Line { text, is_wrong: false });
    let is_peer = !expected.allowed.is_empty();
    match story.int_in_range(0..=11)? {
        0 => right(format!("# {}", plain(story)?)),
        1 => right(format!("  {}\t", " ".repeat(story.int_in_range(0..=4)?))),
        2 => wrong_line(story),
        3 | 4 => {
            let number = expected.allowed.len() as u8;
            expected.allowed.push(Vec::new());
            let key = Key::from_bytes([number.wrapping_mul(3) | 1; 32]);
            if number > 80 {
                // Keys would come again.
                return Err(arbitrary::Error::NotEnoughData);
            }
            right(format!("[pEER]\npublickey={}", key.to_base64()))
        }
        5..=8 if is_peer => {
            let networks = networks(story)?;
            let text = shown(story, &networks)?;
            expected.allowed.last_mut().expect("a peer").extend(networks);
            right(format!("AllowedIPs = {text}"))
        }
        9 if is_peer => {
            let host =
                *story.choose(&["vpn.example", "192.0.2.1", "[2001:db8::1]", "[fe80::1%2]"])?;
            right(format!("Endpoint = {host}:{}", story.int_in_range(1..=65_535u16)?))
        }
        _ if is_peer => right(format!("PersistentKeepalive = {}", story.arbitrary::<u16>()?)),
        5 | 6 => {
            let networks = networks(story)?;
            let text = shown(story, &networks)?;
            expected.addresses.extend(networks);
            right(format!("ADDRESS={text}"))
        }
        7 => {
            expected.name_servers.extend(
                ["192.0.2.53".parse::<IpAddr>(), "::1".parse()].map(|it| it.expect("an address")),
            );
            expected.search_domains += 1;
            right("DNS = 192.0.2.53,corp.example ,::1".into())
        }
        8 => {
            let mtu = story.int_in_range(68..=Config::MTU_MAX)?;
            expected.mtu = Some(mtu);
            right(format!("MTU = {mtu} # bytes"))
        }
        _ => {
            let ignored = ["PostUp", "predown", "FwMark", "SaveConfig", "Table"];
            right(format!("{} = {}", story.choose(&ignored)?, plain(story)?))
        }
    }
}

fn wrong_line(story: &mut Unstructured<'_>) -> arbitrary::Result<Line> {
    let line = *story.choose(&[
        "nonsense",
        "Unknown = 1",
        "[Other]",
        "[Interface",
        "MTU = 67",
        "AllowedIPs = 10.0.0.0/33",
        "Address = fd00::/129",
        "PublicKey = short",
        "Endpoint = fd00::1:51820",
        "= 1",
    ])?;
    Ok(Line { text: line.into(), is_wrong: true })
}

/// Text without a meaning of its own.
fn plain(story: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let bytes: [u8; 8] = story.arbitrary()?;
    Ok(bytes.iter().map(|byte| char::from(b'!' + byte % 90)).collect())
}

fn networks(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<IpNet>> {
    (0..story.int_in_range(0..=4)?).map(|_| network(story)).collect()
}

fn network(story: &mut Unstructured<'_>) -> arbitrary::Result<IpNet> {
    Ok(match story.arbitrary()? {
        true => {
            let address: [u8; 4] = story.arbitrary()?;
            IpNet::new(address.into(), story.int_in_range(0..=32)?).expect("a length of IPv4")
        }
        false => {
            let address: [u8; 16] = story.arbitrary()?;
            IpNet::new(address.into(), story.int_in_range(0..=128)?).expect("a length of IPv6")
        }
    })
}

/// The networks as a list; single addresses without their length now and then.
fn shown(story: &mut Unstructured<'_>, networks: &[IpNet]) -> arbitrary::Result<String> {
    let mut list = Vec::new();
    for network in networks {
        let is_single = network.prefix_len() == network.max_prefix_len();
        list.push(match is_single && story.arbitrary()? {
            true => network.addr().to_string(),
            false => network.to_string(),
        });
    }
    Ok(list.join(if story.arbitrary()? { ", " } else { " ,," }))
}
