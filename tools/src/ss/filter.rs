//! Filters, as ss(8) spells them.

use ipnet::IpNet;
use netstack::netsocket::Limit;
use netstack::netsocket::netcore::{SocketInfo, SocketKind, TcpState};
use std::iter::Peekable;
use std::net::{IpAddr, SocketAddr};
use std::vec::IntoIter;

/// The states of sockets to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct States(u16);

/// What sockets to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// If the filter names any.
    pub(super) states: Option<States>,
    expression: Option<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Host(End, Host),
    Port(End, Comparison, u16),
    Limit(Comparison, Limit),
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Local,
    Peer,
}

/// Addresses and a port; each may be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host {
    network: Option<IpNet>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The words of a filter.
type Words = Peekable<IntoIter<String>>;

/// The state of a socket, with the one of a socket that has no states.
const UNCONNECTED: TcpState = TcpState::Closed;

impl States {
    pub(super) const ALL: Self = Self(u16::MAX);
    pub(super) const LISTENING: Self = Self::of(&[TcpState::Listen, UNCONNECTED]);
    /// All except listening and closed.
    pub(super) const CONNECTED: Self = Self(!Self::LISTENING.0);

    const fn of(states: &[TcpState]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < states.len() {
            bits |= 1 << states[index] as u16;
            index += 1;
        }
        Self(bits)
    }

    pub(super) const fn contains(self, state: TcpState) -> bool {
        self.0 & 1 << state as u16 != 0
    }

    /// As ss(8) names them.
    fn from_name(name: &str) -> Result<Self, String> {
        let name = name.to_ascii_lowercase();
        Ok(match &*name {
            "all" => Self::ALL,
            "connected" => Self::CONNECTED,
            "synchronized" => Self(Self::CONNECTED.0 & !Self::of(&[TcpState::SynSent]).0),
            "bucket" => Self::of(&[TcpState::SynReceived, TcpState::TimeWait]),
            "big" => Self(!Self::of(&[TcpState::SynReceived, TcpState::TimeWait]).0),
            "established" | "estab" => Self::of(&[TcpState::Established]),
            "syn-sent" => Self::of(&[TcpState::SynSent]),
            "syn-recv" | "syn-received" => Self::of(&[TcpState::SynReceived]),
            "fin-wait-1" => Self::of(&[TcpState::FinWait1]),
            "fin-wait-2" => Self::of(&[TcpState::FinWait2]),
            "time-wait" => Self::of(&[TcpState::TimeWait]),
            "closed" | "unconnected" => Self::of(&[UNCONNECTED]),
            "close-wait" => Self::of(&[TcpState::CloseWait]),
            "last-ack" => Self::of(&[TcpState::LastAck]),
            "listening" | "listen" => Self::of(&[TcpState::Listen]),
            "closing" => Self::of(&[TcpState::Closing]),
            _ => {
                return Err(format!("\"{name}\" is no state, for example \"state established\""));
            }
        })
    }
}

/// The state of a socket in these words: one without a peer is unconnected.
pub(super) fn state_of(socket: &SocketInfo) -> TcpState {
    match (socket.kind, socket.state, socket.peer) {
        (SocketKind::Tcp, Some(state), _) => state,
        (_, _, Some(_)) => TcpState::Established,
        _ => UNCONNECTED,
    }
}

impl Filter {
    /// Parses the words of the command line.
    ///
    /// # Errors
    ///
    /// The mistake, with an example.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut words = words(arguments).into_iter().peekable();
        let mut states = None;
        while let Some(keyword) = words.next_if(|word| is_one_of(word, &["state", "exclude"])) {
            let name = words.next().ok_or_else(|| {
                format!("a state is missing behind \"{keyword}\", for example \"established\"")
            })?;
            let named = States::from_name(&name)?.0;
            let before = states.map(|States(before)| before);
            states = Some(States(match keyword.eq_ignore_ascii_case("state") {
                true => before.unwrap_or(0) | named,
                false => before.unwrap_or(u16::MAX) & !named,
            }));
        }
        let expression = words.peek().is_some().then(|| any(&mut words)).transpose()?;
        match words.next() {
            None => Ok(Self { states, expression }),
            Some(word) => Err(format!("\"{word}\" is unexpected here in the filter")),
        }
    }

    /// Whether the expression holds for a socket.
    pub(super) fn matches(&self, socket: &SocketInfo) -> bool {
        let limit = socket.tcp.as_ref().map(|info| info.limit);
        self.matches_ends(socket.local, socket.peer, limit)
    }

    /// The same for one of which less is known.
    pub(super) fn matches_ends(
        &self,
        local: SocketAddr,
        peer: Option<SocketAddr>,
        limit: Option<Limit>,
    ) -> bool {
        self.expression.as_ref().is_none_or(|it| it.holds(local, peer, limit))
    }
}

impl Expression {
    fn holds(&self, local: SocketAddr, peer: Option<SocketAddr>, limit: Option<Limit>) -> bool {
        let end = |end: &End| match end {
            End::Local => Some(local),
            End::Peer => peer,
        };
        match self {
            Self::All(terms) => terms.iter().all(|term| term.holds(local, peer, limit)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(local, peer, limit)),
            Self::Not(term) => !term.holds(local, peer, limit),
            Self::Host(at, host) => end(at).is_some_and(|at| host.contains(at)),
            Self::Port(at, comparison, port) => {
                comparison.holds(&end(at).map_or(0, |at| at.port()), port)
            }
            Self::Limit(Comparison::Unequal, wanted) => limit != Some(*wanted),
            Self::Limit(_, wanted) => limit == Some(*wanted),
        }
    }
}

impl Host {
    fn contains(&self, at: SocketAddr) -> bool {
        self.network.is_none_or(|network| network.contains(&at.ip().to_canonical()))
            && self.port.is_none_or(|port| port == at.port())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no address, for example \"10.0.0.0/8\" or \"[::1]:80\"");
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            // A colon more is one of an IPv6 address.
            None => match text.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let network = match host {
            "*" | "" => None,
            host => match host.parse::<IpAddr>() {
                Ok(address) => Some(IpNet::from(address)),
                Err(_) => Some(host.parse().map_err(|_| wrong())?),
            },
        };
        let port = match port {
            None | Some("*" | "") => None,
            Some(port) => Some(self::port(port)?),
        };
        Ok(Self { network, port })
    }
}

impl Comparison {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "=" | "==" | "eq" => Self::Equal,
            "!=" | "ne" | "neq" => Self::Unequal,
            "<" | "lt" => Self::Less,
            "<=" | "le" | "leq" => Self::LessOrEqual,
            ">" | "gt" => Self::Greater,
            ">=" | "ge" | "geq" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Parentheses and the signs of comparisons are words of their own, with spaces or without.
fn words(arguments: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in arguments.join(" ").chars() {
        let is_sign = |c: char| matches!(c, '=' | '!' | '<' | '>');
        let continues = match c {
            '(' | ')' => false,
            '=' => word.chars().all(is_sign),
            c if is_sign(c) => word.is_empty(),
            _ => !word.chars().any(|before| is_sign(before) || matches!(before, '(' | ')')),
        };
        if !continues || c.is_whitespace() {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if !c.is_whitespace() {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|it| word.eq_ignore_ascii_case(it))
}

fn any(words: &mut Words) -> Result<Expression, String> {
    let mut terms = vec![all(words)?];
    while words.next_if(|word| is_one_of(word, &["or", "|", "||"])).is_some() {
        terms.push(all(words)?);
    }
    Ok(if terms.len() == 1 { terms.swap_remove(0) } else { Expression::Any(terms) })
}

/// Without an operator between two, both have to hold.
fn all(words: &mut Words) -> Result<Expression, String> {
    let mut terms = vec![term(words)?];
    while words.peek().is_some_and(|word| !is_one_of(word, &["or", "|", "||", ")"])) {
        let _ = words.next_if(|word| is_one_of(word, &["and", "&", "&&"]));
        terms.push(term(words)?);
    }
    Ok(if terms.len() == 1 { terms.swap_remove(0) } else { Expression::All(terms) })
}

fn term(words: &mut Words) -> Result<Expression, String> {
    let example = "for example \"dst 10.0.0.0/8\" or \"sport = :80\"";
    let word = words.next().ok_or_else(|| format!("the filter has an end too soon, {example}"))?;
    match word.to_ascii_lowercase().as_str() {
        "(" => {
            let inner = any(words)?;
            match words.next().as_deref() {
                Some(")") => Ok(inner),
                _ => Err("a \")\" is missing in the filter".into()),
            }
        }
        "not" | "!" => Ok(Expression::Not(Box::new(term(words)?))),
        "dst" | "src" => {
            let comparison = words.next_if(|word| Comparison::from_word(word).is_some());
            if comparison.is_some_and(|it| Comparison::from_word(&it) != Some(Comparison::Equal)) {
                return Err(format!("\"{word}\" is compared by \"=\" only"));
            }
            let host = words.next().ok_or_else(|| format!("an address is missing, {example}"))?;
            Ok(Expression::Host(end_of(&word), Host::parse(&host)?))
        }
        "dport" | "sport" => {
            let comparison = comparison(words);
            let text = words.next().ok_or_else(|| format!("a port is missing, {example}"))?;
            let number = text.rsplit_once(':').map_or(&*text, |(_, port)| port);
            Ok(Expression::Port(end_of(&word), comparison, port(number)?))
        }
        "limit" => {
            let comparison = comparison(words);
            let name = words.next().unwrap_or_default();
            let limit = super::limit_from_name(&name)?;
            match comparison {
                Comparison::Equal | Comparison::Unequal => Ok(Expression::Limit(comparison, limit)),
                _ => Err("\"limit\" is compared by \"=\" or \"!=\" only".into()),
            }
        }
        _ => Err(format!("\"{word}\" is no condition, {example}")),
    }
}

fn end_of(word: &str) -> End {
    if word.to_ascii_lowercase().starts_with('d') { End::Peer } else { End::Local }
}

fn comparison(words: &mut Words) -> Comparison {
    let word = words.next_if(|word| Comparison::from_word(word).is_some());
    word.and_then(|word| Comparison::from_word(&word)).unwrap_or(Comparison::Equal)
}

/// A number, or the name of a service.
fn port(text: &str) -> Result<u16, String> {
    let of_service = |services: String| {
        services.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (name, port) = (words.next()?, words.next()?);
            let is_it = name == text || words.any(|alias| alias == text);
            is_it.then(|| port.split('/').next()?.parse().ok()).flatten()
        })
    };
    let known = || std::fs::read_to_string("/etc/services").ok().and_then(of_service);
    text.parse().ok().or_else(known).ok_or_else(|| {
        format!("\"{text}\" is no port from 0 to 65535, for example \"sport = :80\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_to_ss() {
        let ends = [
            ("10.9.0.2:80", Some("10.9.0.1:50000"), Some(Limit::PeerWindow)),
            ("10.9.0.2:443", Some("192.0.2.7:1024"), Some(Limit::Idle)),
            ("[fd00::2]:80", Some("[fd00::1]:50000"), Some(Limit::Idle)),
            ("0.0.0.0:22", None, None),
        ];
        for (text, expected) in [
            ("", &[0, 1, 2, 3][..]),
            ("sport = :80", &[0, 2]),
            ("sport :80", &[0, 2]),
            ("sport=80", &[0, 2]),
            ("sport = :http", &[0, 2]),
            ("sport != :80", &[1, 3]),
            ("dport >= :1024 and dport < 50000", &[1]),
            ("dst 10.9.0.0/16", &[0]),
            ("dst 192.0.2.7", &[1]),
            ("dst 192.0.2.7:1024", &[1]),
            ("dst 192.0.2.7:1025", &[]),
            ("dst [fd00::1]:50000", &[2]),
            ("dst fd00::/64", &[2]),
            ("src *:80", &[0, 2]),
            ("src = 10.9.0.2", &[0, 1]),
            ("( sport = :80 or sport = :443 ) dst 10.9.0.0/16", &[0]),
            ("(sport=80 or sport=443) !dst 10.9.0.1", &[1, 2]),
            ("( sport = 80 || sport = 443 ) && ! dst 10.9.0.1", &[1, 2]),
            ("not sport = 80 and not sport = 22", &[1]),
            ("sport = 80 or sport = 443 and dst 192.0.2.7", &[0, 1, 2]),
            ("limit peer-window", &[0]),
            ("limit != idle", &[0, 3]),
        ] {
            let filter = filter(text).expect(text);
            let matches = |index: &usize| {
                let (local, peer, limit) = ends[*index];
                let at = |text: &str| text.parse().expect("an address");
                filter.matches_ends(at(local), peer.map(at), limit)
            };
            let found: Vec<_> = (0..ends.len()).filter(matches).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn states_come_first_and_add_up() {
        let states = |text: &str| filter(text).expect(text).states;

        assert_eq!(states("sport = 80"), None);
        assert_eq!(states("state established"), Some(States::of(&[TcpState::Established])));
        let two = States::of(&[TcpState::FinWait1, TcpState::TimeWait]);
        assert_eq!(states("state fin-wait-1 state TIME-WAIT dst 10.9.0.1"), Some(two));
        let others = states("state connected exclude time-wait").expect("some");
        assert!(others.contains(TcpState::CloseWait) && !others.contains(TcpState::TimeWait));
        assert!(!States::CONNECTED.contains(TcpState::Listen));
        assert_eq!(states("state all"), Some(States::ALL));
        let not_listening = states("exclude listening").expect("some");
        assert!(not_listening.contains(TcpState::Closed));
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, expected) in [
            ("state", "a state is missing behind \"state\""),
            ("state open", "\"open\" is no state, for example \"state established\""),
            ("sport = :web-of-tomorrow", "is no port from 0 to 65535"),
            ("sport", "a port is missing"),
            ("dst", "an address is missing"),
            ("dst 10.9.0", "\"10.9.0\" is no address"),
            ("dst != 10.9.0.1", "\"dst\" is compared by \"=\" only"),
            ("( sport = 80", "a \")\" is missing"),
            ("sport = 80 )", "\")\" is unexpected here"),
            ("sport = 80 or", "the filter has an end too soon"),
            ("colour = blue", "\"colour\" is no condition"),
            ("limit = hunger", "\"hunger\" is no limit; there are handshake, peer-window"),
            ("limit < idle", "\"limit\" is compared by"),
        ] {
            let error = filter(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn filter(text: &str) -> Result<Filter, String> {
        Filter::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }
}
