//! Messages of DHCP clients, right ones and any other, to a server.

use arbitrary::Unstructured;
use netstack::dhcp::server::{Config, Reply, Responder};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

const SERVER: [u8; 4] = [10, 0, 2, 2];
const NAME_SERVER: [u8; 4] = [10, 0, 2, 3];
const POOL: std::ops::RangeInclusive<Ipv4Addr> =
    Ipv4Addr::new(10, 0, 2, 1)..=Ipv4Addr::new(10, 0, 2, 9);
const LEASES_MAX: usize = 6;
const LEASE_TIME: Duration = Duration::from_secs(100);
/// Types of messages (RFC 2132 section 9.6).
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const RELEASE: u8 = 7;

/// Who has which address until when, as the answers say.
type Held = HashMap<Ipv4Addr, (u8, Duration)>;

/// Plays messages of several clients to a server.
///
/// No address is acknowledged to two clients at once, nor one of the network's own; no more leases are
/// held than there may be; and answers are as long as every client takes.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn dhcp_server(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let mut server = Responder::new(config()).expect("a right configuration");
    let (mut held, mut now) = (Held::new(), Duration::ZERO);
    // An error is the end of the data.
    while !story.is_empty() {
        now += Duration::from_secs(story.int_in_range(0..=40).unwrap_or(0));
        let Ok(message) = message(&mut story) else { break };
        let reply = server.answer(&message.bytes, now);
        match message.client {
            Some(client) if matches!(message.kind, DECLINE | RELEASE) => {
                held.retain(|_, (holder, _)| *holder != client);
            }
            Some(_) => {}
            // Whose it was is not known.
            None => held.clear(),
        }
        if let Some(reply) = reply {
            check(&message, &reply, &mut held, now);
        }
        let leases = server.leases(now);
        assert!(leases.len() <= LEASES_MAX, "{leases:?}");
        assert!(leases.iter().all(|lease| POOL.contains(&lease.address)), "{leases:?}");
    }
}

fn config() -> Config {
    Config {
        pool: POOL,
        name_servers: vec![NAME_SERVER.into()],
        domain: Some("guests".into()),
        lease_time: LEASE_TIME,
        leases_max: LEASES_MAX,
        ..Config::new("10.0.2.2/24".parse().expect("a network"))
    }
}

/// A message, and what the model knows of it.
struct Message {
    bytes: Vec<u8>,
    kind: u8,
    /// None if it has arbitrary bytes in it.
    client: Option<u8>,
}

fn message(story: &mut Unstructured<'_>) -> arbitrary::Result<Message> {
    let mut bytes = vec![0; 240];
    let client = story.int_in_range(0..=9)?;
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&story.arbitrary::<[u8; 4]>()?);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, client]);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    if story.arbitrary()? {
        bytes[12..16].copy_from_slice(&address(story)?);
    }
    let kind = *story.choose(&[1, 3, 3, 3, DECLINE, RELEASE, 8])?;
    bytes.extend([53, 1, kind]);
    for option in [50, 54] {
        if story.arbitrary()? {
            bytes.extend([option, 4]);
            bytes.extend(address(story)?);
        }
    }
    let mut message = Message { bytes, kind, client: Some(client) };
    if story.ratio(1, 4)? {
        message.client = None;
        doctor(&mut message.bytes, story)?;
    }
    Ok(message)
}

/// An address that matters, or any.
fn address(story: &mut Unstructured<'_>) -> arbitrary::Result<[u8; 4]> {
    match story.int_in_range(0..=3)? {
        0 => story.arbitrary(),
        1 => Ok(SERVER),
        _ => Ok([10, 0, 2, story.int_in_range(0..=10)?]),
    }
}

/// Changes bytes, adds some, or cuts the message.
fn doctor(bytes: &mut Vec<u8>, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    for _ in 0..story.int_in_range(0..=4)? {
        let at = story.choose_index(bytes.len())?;
        bytes[at] = story.arbitrary()?;
    }
    let len = story.int_in_range(0..=300)?;
    let more: Vec<u8> = (0..len).map(|_| story.arbitrary().unwrap_or(255)).collect();
    bytes.extend(more);
    if story.ratio(1, 8)? {
        bytes.truncate(story.choose_index(bytes.len())?);
    }
    Ok(())
}

/// Checks an answer against the message and those before.
fn check(message: &Message, reply: &Reply, held: &mut Held, now: Duration) {
    let answer = &reply.message;
    assert!((300..=1472).contains(&answer.len()), "{} bytes", answer.len());
    assert_eq!((answer[0], &answer[4..8]), (2, &message.bytes[4..8]));
    assert_eq!(answer[28..34], message.bytes[28..34]);
    assert_eq!(answer[240..242], [53, 1]);
    let own: [u8; 4] = answer[16..20].try_into().expect("four bytes");
    let own = Ipv4Addr::from(own);
    if own.is_unspecified() {
        return;
    }
    assert!(POOL.contains(&own) && ![SERVER, NAME_SERVER].contains(&own.octets()), "{own}");
    if let (Some(client), ACK) = (message.client, answer[242])
        && let Some((other, until)) = held.insert(own, (client, now + LEASE_TIME))
    {
        assert!(other == client || until <= now, "{own} is that of {other}, given to {client}");
    }
}
