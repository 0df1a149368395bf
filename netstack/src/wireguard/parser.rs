//! The format of wg(8) and wg-quick(8).

use super::config::{Config, Endpoint, Peer};
use super::key::Key;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Why a text is no configuration. The message begins with the number of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

type Result<T> = std::result::Result<T, ConfigError>;

enum Section {
    None,
    Interface,
    Peer,
}

/// What is read so far. The keys that must be there are missing at first.
struct Draft {
    private_key: Option<Key>,
    config: Config,
    /// Each with whether it has a key yet, and the line where it begins.
    peers: Vec<(Peer, bool, usize)>,
}

/// Keys that change the machine.
const IGNORED: [&str; 6] = ["FwMark", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig"];
/// The most peers.
const PEERS_MAX: usize = 1 << 16;

/// Parses a file. Names of sections and keys are compared without regard to case, and `#` begins a
/// comment.
pub(super) fn parse(text: &str) -> Result<Config> {
    let nobody = Key::from_bytes([0; 32]);
    let mut draft = Draft { private_key: None, config: Config::new(nobody), peers: Vec::new() };
    let mut section = Section::None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let failed = |message: String| ConfigError(format!("line {number}: {message}"));
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('[') {
            section = draft.section(line, number).map_err(failed)?;
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| failed(format!("\"{line}\" is neither a section nor KEY = VALUE")))?;
        let set = match section {
            Section::None => Err(format!("{key} stands before the first section")),
            Section::Interface => draft.set_interface(key, value),
            Section::Peer => draft.set_peer(key, value),
        };
        set.map_err(failed)?;
    }
    draft.finish()
}

impl Draft {
    fn section(&mut self, line: &str, number: usize) -> std::result::Result<Section, String> {
        if line.eq_ignore_ascii_case("[Interface]") {
            return Ok(Section::Interface);
        }
        if !line.eq_ignore_ascii_case("[Peer]") {
            return Err(format!("\"{line}\" is neither [Interface] nor [Peer]"));
        }
        if self.peers.len() == PEERS_MAX {
            return Err(format!("more than {PEERS_MAX} peers"));
        }
        self.peers.push((Peer::new(Key::from_bytes([0; 32])), false, number));
        Ok(Section::Peer)
    }

    fn set_interface(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let config = &mut self.config;
        match key.to_ascii_lowercase().as_str() {
            "privatekey" => self.private_key = Some(secret(key, value)?),
            "listenport" => config.listen_port = Some(number(key, value)?).filter(|it| *it > 0),
            "address" => config.addresses.extend(networks(key, value)?),
            "dns" => {
                for entry in entries(value) {
                    match entry.parse() {
                        Ok(server) => config.name_servers.push(server),
                        Err(_) => config.search_domains.push(domain(entry)?),
                    }
                }
            }
            "mtu" => {
                let range = 68..=Config::MTU_MAX;
                let mtu = value.parse().ok().filter(|mtu| range.contains(mtu));
                config.mtu = Some(mtu.ok_or_else(|| {
                    format!("MTU = {value}: not a number of bytes from 68 to {}", range.end())
                })?);
            }
            "table" if value.eq_ignore_ascii_case("off") => config.has_routes = false,
            "table" if value.eq_ignore_ascii_case("auto") => config.has_routes = true,
            "table" => self.ignore("Table"),
            other => {
                let known = IGNORED.iter().find(|known| known.eq_ignore_ascii_case(other));
                self.ignore(known.ok_or_else(|| format!("{key} is no key of [Interface]"))?);
            }
        }
        Ok(())
    }

    fn ignore(&mut self, key: &str) {
        if !self.config.ignored.iter().any(|known| known == key) {
            self.config.ignored.push(key.to_owned());
        }
    }

    fn set_peer(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let known = self
            .peers
            .iter()
            .position(|(peer, has_key, _)| *has_key && value.parse() == Ok(peer.public_key));
        let (peer, has_key, _) = self.peers.last_mut().expect("the section has made it");
        match key.to_ascii_lowercase().as_str() {
            "publickey" if known.is_some() => return Err("this peer is there twice".into()),
            "publickey" => (peer.public_key, *has_key) = (secret(key, value)?, true),
            // One of zeroes is none, as of wg.
            "presharedkey" => {
                let key = secret(key, value)?;
                peer.preshared_key = (key.to_bytes() != [0; 32]).then_some(key);
            }
            "allowedips" => peer.allowed_ips.extend(networks(key, value)?),
            "endpoint" => peer.endpoint = Some(endpoint(value)?),
            "persistentkeepalive" if value.eq_ignore_ascii_case("off") => {
                peer.persistent_keepalive = None;
            }
            "persistentkeepalive" => {
                peer.persistent_keepalive = Some(number(key, value)?).filter(|it| *it > 0);
            }
            _ => return Err(format!("{key} is no key of [Peer]")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Config> {
        let missing = || ConfigError("[Interface] has no PrivateKey".into());
        let private_key = self.private_key.ok_or_else(missing)?;
        if let Some((_, _, line)) = self.peers.iter().find(|(_, has_key, _)| !has_key) {
            return Err(ConfigError(format!("line {line}: this [Peer] has no PublicKey")));
        }
        let peers = self.peers.into_iter().map(|(peer, ..)| peer).collect();
        Ok(Config { private_key, peers, ..self.config })
    }
}

/// The value is left out of messages: it may be most of a private key.
fn secret(key: &str, value: &str) -> std::result::Result<Key, String> {
    value.parse().map_err(|error| format!("{key}: {error}"))
}

fn number(key: &str, value: &str) -> std::result::Result<u16, String> {
    value.parse().map_err(|_| format!("{key} = {value}: not a number from 0 to 65535"))
}

fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn networks(key: &str, value: &str) -> std::result::Result<Vec<IpNet>, String> {
    entries(value)
        .map(|entry| {
            let single = || entry.parse::<IpAddr>().map(IpNet::from);
            let network = entry.parse().or_else(|_| single());
            network.map_err(|_| format!("{key}: \"{entry}\" is not an address with its prefix"))
        })
        .collect()
}

/// A search domain: wg-quick takes what is no address for one.
fn domain(entry: &str) -> std::result::Result<String, String> {
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match entry.bytes().all(is_domain) {
        true => Ok(entry.to_owned()),
        false => Err(format!("DNS: \"{entry}\" is neither an address nor a domain")),
    }
}

pub(super) fn endpoint(value: &str) -> std::result::Result<Endpoint, String> {
    let parsed = || {
        let (host, port) = value.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => {
                let inside = inside.strip_suffix(']')?;
                // The zone of a link-local address, as in [fe80::1%eth0].
                let address = inside.split('%').next()?;
                address.parse::<Ipv6Addr>().ok()?;
                inside
            }
            None => host,
        };
        let is_host = |host: &str| !host.is_empty() && !host.contains(char::is_whitespace);
        let is_bare = value.starts_with('[') || !host.contains(':');
        (is_host(host) && is_bare).then(|| Endpoint { host: host.to_owned(), port })
    };
    parsed().ok_or_else(|| {
        format!(
            "Endpoint = {value}: not HOST:PORT, for example vpn.example:51820 or [fd00::1]:51820"
        )
    })
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

    #[test]
    fn all_of_a_wg_quick_file_is_read() {
        let text = format!(
            "# a comment\n[interface]\nprivatekey={PRIVATE}\nListenPort = 51820 # mine\n\
             Address = 10.8.0.2/24,fd08::2/64\nAddress = 10.9.0.2\n\
             DNS = 10.8.0.1, corp.example , fd08::1\nMTU = 1380\nTable = 1234\n\
             FwMark = 0x1\nPostUp = iptables -A FORWARD -i %i; echo a=b\nPostUp = true\n\n\
             [PEER]\nPublicKey = {PUBLIC}\nPresharedKey = {PRIVATE}\n\
             AllowedIPs = 0.0.0.0/0, ::/0\nAllowedIPs = 192.0.2.1\n\
             Endpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n"
        );
        let config = parse(&text).expect("right");

        assert_eq!(config.private_key, PRIVATE.parse().expect("a key"));
        assert_eq!(
            (config.listen_port, config.mtu, config.has_routes),
            (Some(51820), Some(1380), true)
        );
        let shown = |list: &[IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&config.addresses), ["10.8.0.2/24", "fd08::2/64", "10.9.0.2/32"]);
        assert_eq!(config.name_servers.len(), 2);
        assert_eq!(config.search_domains, ["corp.example"]);
        assert_eq!(config.ignored, ["Table", "FwMark", "PostUp"]);
        let peer = &config.peers[0];
        assert_eq!(peer.public_key, PUBLIC.parse().expect("a key"));
        assert_eq!(peer.preshared_key, PRIVATE.parse().ok());
        assert_eq!(shown(&peer.allowed_ips), ["0.0.0.0/0", "::/0", "192.0.2.1/32"]);
        assert_eq!(peer.endpoint.as_ref().expect("one").to_string(), "[2001:db8::1]:51820");
        assert_eq!(peer.persistent_keepalive, Some(25));
        let routes = config.routes();
        let routes = routes.iter().map(|it| it.destination.to_string()).collect::<Vec<_>>();
        assert_eq!(routes, ["0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn each_mistake_in_a_file_is_named_with_its_line() {
        let interface = format!("[Interface]\nPrivateKey = {PRIVATE}\n");
        let peer = format!("{interface}[Peer]\nPublicKey = {PUBLIC}\n");
        for (text, expected) in [
            (String::new(), "[Interface] has no PrivateKey"),
            ("[Interface]\nMTU = 1500".into(), "[Interface] has no PrivateKey"),
            ("PrivateKey = x".into(), "line 1: PrivateKey stands before the first section"),
            ("[Interface]\nPrivateKey = secret".into(), "line 2: PrivateKey: not a key"),
            (
                format!("{interface}[Other]"),
                "line 3: \"[Other]\" is neither [Interface] nor [Peer]",
            ),
            (format!("{interface}nonsense"), "line 3: \"nonsense\" is neither a section nor KEY"),
            (format!("{interface}Adress = 10.0.0.1"), "line 3: Adress is no key of [Interface]"),
            (
                format!("{interface}Address = 10.0.0.1/33"),
                "line 3: Address: \"10.0.0.1/33\" is not",
            ),
            (format!("{interface}MTU = 67"), "line 3: MTU = 67: not a number of bytes from 68"),
            (format!("{interface}MTU = 65476"), "line 3: MTU = 65476: not a number of bytes"),
            (format!("{interface}ListenPort = 65536"), "line 3: ListenPort = 65536: not a number"),
            (format!("{interface}DNS = a b"), "line 3: DNS: \"a b\" is neither an address nor"),
            (format!("{interface}[Peer]\nAllowedIPs ="), "line 3: this [Peer] has no PublicKey"),
            (
                format!("{peer}Endpoint = fd00::1:51820"),
                "line 5: Endpoint = fd00::1:51820: not HOST",
            ),
            (format!("{peer}Endpoint = host"), "line 5: Endpoint = host: not HOST:PORT"),
            (format!("{peer}Endpoint = host:0"), "line 5: Endpoint = host:0: not HOST:PORT"),
            (format!("{peer}Endpoint = [host]:1"), "line 5: Endpoint = [host]:1: not HOST:PORT"),
            (format!("{peer}PrivateKey = {PRIVATE}"), "line 5: PrivateKey is no key of [Peer]"),
            (format!("{peer}[Peer]\nPublicKey = {PUBLIC}"), "line 6: this peer is there twice"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_configuration_or_refused(text in "(\\[(Interface|Peer)\\]\n|(PublicKey|Endpoint|AllowedIPs|MTU|DNS|x)=[\\[\\]:%a0./, -]{0,20}\n){0,8}") {
            let _ = parse(&text);
        }
    }
}
