//! Datagrams of an overlay network, in any order and with any bytes.

use arbitrary::Unstructured;
use netstack::overlay::{Datagram, Destination, Encapsulation, Forwarding, OverlayConfig};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

const VNI: u32 = 0x01_02_03;
const HEADER: [u8; 8] = [8, 0, 0, 0, 1, 2, 3, 0];
/// The most steps of a story.
const STEPS_MAX: usize = 64;

/// Plays the datagrams and lookups in `data` to the decisions of an overlay network, and returns how
/// many there were.
///
/// A datagram is a frame exactly if its header is that of the network, a known address is behind the
/// peer that was its source last and is forgotten in time, and no more are known than the bound.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn overlay(data: &[u8]) -> usize {
    let mut story = Unstructured::new(data);
    let Ok(config) = config(&mut story) else { return 0 };
    let mut forwarding = Forwarding::new(&config);
    let mut model = Model { known: Vec::new(), config };
    let mut now = Instant::now();
    let mut steps = 0;
    // An error is the end of the data.
    while !story.is_empty() && steps < STEPS_MAX {
        if step(&mut story, &mut forwarding, &mut model, &mut now).is_err() {
            break;
        }
        steps += 1;
    }
    steps
}

fn config(story: &mut Unstructured<'_>) -> arbitrary::Result<OverlayConfig> {
    let kinds = [Encapsulation::Vxlan, Encapsulation::Vxvde, Encapsulation::None];
    let mut config = OverlayConfig::vxlan();
    config.encapsulation = *story.choose(&kinds)?;
    config.vni = VNI;
    config.addresses_max = story.int_in_range(0..=6)?;
    config.address_age = Duration::from_secs(story.int_in_range(0..=9)?);
    Ok(config)
}

fn step(
    story: &mut Unstructured<'_>,
    forwarding: &mut Forwarding,
    model: &mut Model,
    now: &mut Instant,
) -> arbitrary::Result<()> {
    match story.int_in_range(0..=3)? {
        0 => *now += Duration::from_millis(story.int_in_range(0..=4000)?),
        1 => {
            let frame = frame(story)?;
            let expected = model.destination(&frame, *now);
            assert_eq!(forwarding.destination(&frame, *now), expected);
        }
        _ => {
            let (datagram, from) = (datagram(story)?, peer(story)?);
            let expected = model.receive(&datagram, from, *now);
            assert_eq!(forwarding.receive(&datagram, from, *now), expected, "{datagram:02x?}");
            assert_eq!(forwarding.known_addresses(), model.known.len());
        }
    }
    Ok(())
}

fn peer(story: &mut Unstructured<'_>) -> arbitrary::Result<SocketAddr> {
    let address = IpAddr::from([192, 0, 2, story.int_in_range(1..=3)?]);
    Ok(SocketAddr::new(address, *story.choose(&[4789, 40_000])?))
}

fn datagram(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let mut bytes = match story.int_in_range(0..=7)? {
        0 => Vec::new(),
        1 => story.arbitrary::<[u8; 8]>()?.to_vec(),
        2 => {
            let mut header = HEADER;
            header[story.int_in_range(0..=7)?] ^= story.arbitrary::<u8>()?;
            header.to_vec()
        }
        _ => HEADER.to_vec(),
    };
    bytes.extend(frame(story)?);
    bytes.truncate(match story.int_in_range(0..=3)? {
        0 => story.int_in_range(0..=24)?,
        _ => usize::MAX,
    });
    Ok(bytes)
}

/// Few addresses, so that they meet again.
fn frame(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let mut frame = Vec::new();
    for _ in 0..2 {
        let first = *story.choose(&[2, 2, 2, 0x33, 0])?;
        frame.extend([first, 0, 0, 0, 0, story.int_in_range(0..=8)?]);
    }
    frame.extend(vec![0x45; story.int_in_range(0..=6)?]);
    Ok(frame)
}

/// The same as a list, the address that was seen last at its end.
struct Model {
    known: Vec<([u8; 6], SocketAddr, Instant)>,
    config: OverlayConfig,
}

impl Model {
    fn receive<'a>(&mut self, datagram: &'a [u8], from: SocketAddr, now: Instant) -> Datagram<'a> {
        let kind = self.config.encapsulation;
        let header_bytes = if kind == Encapsulation::None { 0 } else { 8 };
        let Some((header, frame)) = datagram.split_at_checked(header_bytes) else {
            return Datagram::Foreign;
        };
        let is_own = match kind {
            Encapsulation::Vxlan => header[0] & 8 == 8 && header[4..7] == HEADER[4..7],
            Encapsulation::Vxvde => header == HEADER,
            Encapsulation::None => true,
        };
        if !is_own {
            return Datagram::Foreign;
        }
        if frame.is_empty() && kind == Encapsulation::Vxvde {
            self.known.retain(|(_, peer, _)| *peer != from);
            return Datagram::Goodbye;
        }
        if frame.len() <= 14 {
            return Datagram::Foreign;
        }
        let source: [u8; 6] = frame[6..12].try_into().expect("six bytes");
        if is_unicast(source) && kind != Encapsulation::None {
            let port = if kind == Encapsulation::Vxlan { self.config.port } else { from.port() };
            self.known.retain(|(known, ..)| *known != source);
            self.known.push((source, SocketAddr::new(from.ip(), port), now));
            if self.known.len() > self.config.addresses_max.max(1) {
                self.known.remove(0);
            }
        }
        Datagram::Frame(frame)
    }

    fn destination(&self, frame: &[u8], now: Instant) -> Destination {
        let known = self.known.iter().find(|(address, ..)| *address == frame[..6]);
        match known {
            Some((_, peer, seen_at)) if now - *seen_at < self.config.address_age => {
                Destination::Peer(*peer)
            }
            _ => Destination::All,
        }
    }
}

fn is_unicast(address: [u8; 6]) -> bool {
    address[0] & 1 == 0 && address != [0; 6]
}
