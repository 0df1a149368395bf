//! From a text to an expression.

use super::{Expression, Protocol, Side};
use crate::direction::Direction;
use ipnet::IpNet;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

/// The error of parsing a [`Filter`](super::Filter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterParseError {
    /// Where it stands in the text, in words from 1; none at the end.
    word: Option<(usize, String)>,
    expected: &'static str,
}

/// So deep may parentheses and negations be nested: each costs a call.
const DEPTH_MAX: usize = 64;
/// So many words are read.
const WORDS_MAX: usize = 1024;

pub(super) fn parse(text: &str) -> Result<Option<Expression>, FilterParseError> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('!', " not ");
    let words: Vec<&str> = spaced.split_whitespace().take(WORDS_MAX + 1).collect();
    let mut parser = Parser { words: &words, at: 0 };
    if words.len() > WORDS_MAX {
        parser.at = WORDS_MAX;
        return Err(parser.expected("an end: a filter has at most 1,024 words"));
    }
    if words.is_empty() {
        return Ok(None);
    }
    let expression = parser.alternatives(0)?;
    match parser.peek() {
        None => Ok(Some(expression)),
        Some(_) => Err(parser.expected("\"and\", \"or\" or the end")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn expected(&self, expected: &'static str) -> FilterParseError {
        let word = self.peek().map(|word| (self.at + 1, word.to_owned()));
        FilterParseError { word, expected }
    }

    fn alternatives(&mut self, depth: usize) -> Result<Expression, FilterParseError> {
        let mut first = self.conjunction(depth)?;
        while self.take("or") || self.take("||") {
            first = Expression::Or(Box::new([first, self.conjunction(depth)?]));
        }
        Ok(first)
    }

    fn conjunction(&mut self, depth: usize) -> Result<Expression, FilterParseError> {
        let mut first = self.factor(depth)?;
        while self.take("and") || self.take("&&") {
            first = Expression::And(Box::new([first, self.factor(depth)?]));
        }
        Ok(first)
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, FilterParseError> {
        if depth > DEPTH_MAX {
            return Err(self.expected("less than 64 levels"));
        }
        if self.take("not") {
            return Ok(Expression::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.alternatives(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err(self.expected("\")\"")) };
        }
        self.primitive()
    }

    /// One condition, or a protocol with one on its addresses or ports.
    fn primitive(&mut self) -> Result<Expression, FilterParseError> {
        let Some(word) = self.peek() else {
            return Err(self.expected("a condition"));
        };
        let simple = match word {
            "inbound" => Some(Expression::Direction(Direction::Inbound)),
            "outbound" => Some(Expression::Direction(Direction::Outbound)),
            "dropped" => Some(Expression::Dropped),
            "repeated" => Some(Expression::Repeated),
            _ => None,
        };
        if let Some(simple) = simple {
            self.at += 1;
            return Ok(simple);
        }
        let Some(protocol) = protocol(word) else { return self.ends() };
        self.at += 1;
        let protocol = Expression::Protocol(protocol);
        match self.peek() {
            Some("src" | "dst" | "host" | "net" | "port" | "portrange") => {
                Ok(Expression::And(Box::new([protocol, self.ends()?])))
            }
            _ => Ok(protocol),
        }
    }

    /// A condition on an address or a port.
    fn ends(&mut self) -> Result<Expression, FilterParseError> {
        let side = match (self.take("src"), self.take("dst")) {
            (true, _) => Side::Source,
            (_, true) => Side::Destination,
            _ => Side::Any,
        };
        if self.take("port") {
            let port: u16 = self.value("a port")?;
            return Ok(Expression::Port(side, port..=port));
        }
        if self.take("portrange") {
            let range = self.peek().and_then(|word| word.split_once('-'));
            let ends = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            let Some((from, to)) = ends else {
                return Err(self.expected("two ports, such as 8000-8999"));
            };
            self.at += 1;
            return Ok(Expression::Port(side, from..=to));
        }
        if self.take("net") {
            let net: IpNet = self.value("a network, such as 10.0.0.0/8")?;
            return Ok(Expression::Net(side, net.trunc()));
        }
        // As in tcpdump an address alone is a host.
        let expected = match self.take("host") {
            true => "an address",
            false => "a condition: tcp, udp, icmp, ip, ip6, arp, host, net, port, not",
        };
        let address: IpAddr = self.value(expected)?;
        Ok(Expression::Net(side, address.into()))
    }

    fn value<T: std::str::FromStr>(
        &mut self,
        expected: &'static str,
    ) -> Result<T, FilterParseError> {
        let value = self.peek().and_then(|word| word.parse().ok());
        let value = value.ok_or_else(|| self.expected(expected))?;
        self.at += 1;
        Ok(value)
    }
}

fn protocol(word: &str) -> Option<Protocol> {
    Some(match word {
        "ip" => Protocol::Ip,
        "ip6" => Protocol::Ip6,
        "arp" => Protocol::Arp,
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        "icmp6" => Protocol::Icmp6,
        _ => return None,
    })
}

impl fmt::Display for FilterParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some((at, word)) => write!(f, "word {at}, {word:?}: expected {}", self.expected),
            None => write!(f, "expected {} at the end", self.expected),
        }
    }
}

impl Error for FilterParseError {}
