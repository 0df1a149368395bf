//! Answers that no server should give.

use super::super::message::{Answer, read};
use super::server::{ServerMessage, packet};
use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Spoils an answer.
type Spoil = (&'static str, fn(&mut ServerMessage));

const SPOILT: &[Spoil] = &[
    ("another transaction", |said| said.header[4] ^= 1),
    ("another client", |said| said.header[33] ^= 1),
    ("a hardware address of another length", |said| said.header[2] = 255),
    ("a question", |said| said.header[0] = 1),
    ("another protocol", |said| said.header[239] = 0),
    ("no server", |said| {
        said.unset(54);
    }),
    ("a group as a server", |said| {
        said.set(54, &[224, 0, 0, 1]);
    }),
    ("half a server", |said| {
        said.set(54, &[10, 7]);
    }),
    ("no type", |said| {
        said.unset(53);
    }),
    ("no time", |said| {
        said.unset(51);
    }),
    ("a time of zero", |said| {
        said.set(51, &[0; 4]);
    }),
    ("a short time", |said| {
        said.set(51, &[1]);
    }),
    ("no mask", |said| {
        said.set(1, &[255]);
    }),
    ("a mask with a hole", |said| {
        said.set(1, &[255, 0, 255, 0]);
    }),
    ("a mask of everything", |said| {
        said.set(1, &[0; 4]);
    }),
    ("no address", |said| said.header[16..20].fill(0)),
    ("the address of all", |said| said.header[16..20].fill(255)),
    ("a group", |said| said.header[16] = 224),
    ("loopback", |said| said.header[16] = 127),
    ("the network's own address", |said| said.header[19] = 0),
    ("the network's broadcast address", |said| said.header[19] = 255),
];

#[tokio::test(start_paused = true)]
async fn invalid_server_messages_are_ignored() {
    for kind in [Kind::Offer, Kind::Ack] {
        let (stack, events, server) = start(1, Config::default());
        let mut asked = server.expect(Kind::Discover).await;
        if kind == Kind::Ack {
            server.send(&asked.lease(Kind::Offer, OWN)).await;
            asked = server.expect(Kind::Request).await;
        }
        let before = names(&events);
        for (_, spoil) in SPOILT {
            let mut said = asked.lease(kind, OWN);
            spoil(&mut said);
            server.send(&said).await;
        }
        for garbage in [&[][..], &[2], &[0xff; 240], &[0; 1400]] {
            server.0.send(packet(SERVER, Ipv4Addr::BROADCAST, garbage)).await;
        }
        if kind == Kind::Ack {
            server.send(asked.answer(Kind::Nak).by(OTHER_SERVER)).await;
            server.send(asked.lease(Kind::Ack, OTHER).by(OTHER_SERVER)).await;
        }
        sleep(Duration::from_secs(1)).await;
        assert!(names(&events).is_empty(), "after {before:?}");
        assert!(stack.net().network().addresses.is_empty());

        server.send(&asked.lease(kind, OWN)).await;
        sleep(Duration::from_secs(1)).await;
        assert!(!names(&events).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_holds_no_retransmission_up() {
    let (_stack, _, server) = start(1, Config::default());
    let server = Arc::new(server);
    server.expect(Kind::Discover).await;
    let start = Instant::now();
    let flooding = server.clone();
    tokio::spawn(async move {
        loop {
            flooding.0.send(packet(SERVER, Ipv4Addr::BROADCAST, &[2; 300])).await;
            sleep(Duration::from_millis(1)).await;
        }
    });

    server.expect(Kind::Discover).await;

    assert!((3..=5).contains(&seconds(start)));
}

/// A valid offer, with its transaction and hardware address.
fn offer() -> (Vec<u8>, u32, [u8; 6]) {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[2, 1, 6]);
    message[16..20].copy_from_slice(&OWN.octets());
    message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    message[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message.extend([53, 1, 2, 54, 4, 10, 7, 0, 1, 51, 4, 0, 0, 1, 0]);
    (message, 0, [2, 0, 0, 0, 0, 1])
}

fn offered(options: &[u8]) -> super::super::Lease {
    let (mut message, transaction, hardware_address) = offer();
    message.extend(options);
    let mut random = StdRng::seed_from_u64(1);
    match read(&message, transaction, hardware_address, &mut random) {
        Ok(Answer::Offer(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_are_read_from_all_fields() {
    let split = offered(&[6, 3, 10, 7, 0, 1, 4, 255, 255, 0, 0, 0, 6, 5, 53, 10, 7, 0, 54, 255]);
    let servers: Vec<Ipv4Addr> = vec![[10, 7, 0, 53].into(), [10, 7, 0, 54].into()];
    assert_eq!((split.name_servers, split.address.prefix_len()), (servers, 16));

    let (mut message, transaction, hardware_address) = offer();
    message[44..49].copy_from_slice(&[15, 2, b'h', b'i', 255]);
    message[108..114].copy_from_slice(&[1, 4, 255, 255, 128, 0]);
    message.extend([52, 1, 3, 255]);
    let mut random = StdRng::seed_from_u64(1);
    let read = read(&message, transaction, hardware_address, &mut random);
    let Ok(Answer::Offer(lease)) = read else { panic!("{read:?}") };
    assert_eq!((lease.address.prefix_len(), lease.search_domains), (17, vec!["hi".to_string()]));

    assert_eq!(offered(&[]).address.prefix_len(), 8, "without a mask");
    assert_eq!(offered(&[MASK.len() as u8]).routes, []);
}

#[test]
fn classless_routes_come_before_the_router() {
    let router = [3, 4, 10, 7, 0, 1];
    assert_eq!(offered(&router).gateway(), Some(SERVER));

    let classless = [121, 15, 24, 192, 0, 2, 10, 7, 0, 9, 16, 172, 16, 0, 0, 0, 0];
    let lease = offered(&[&router[..], &classless].concat());
    let routes: Vec<_> =
        lease.routes.iter().map(|r| (r.destination.to_string(), r.gateway)).collect();
    let gateway = Some(IpAddr::from([10, 7, 0, 9]));
    assert_eq!(routes, [("192.0.2.0/24".into(), gateway), ("172.16.0.0/16".into(), None)]);
    assert_eq!(lease.gateway(), None);

    let default = [121, 5, 0, 10, 7, 0, 9];
    assert_eq!(offered(&default).gateway(), Some([10, 7, 0, 9].into()));
    assert_eq!(offered(&[121, 5, 33, 10, 7, 0, 9]).routes, []);
    assert_eq!(offered(&[121, 5, 0, 224, 0, 0, 1]).routes, []);
}

#[test]
fn invalid_t1_and_t2_fall_back_to_defaults() {
    for (t1, t2) in [(0, 0), (300, 400), (200, 100), (u32::MAX, u32::MAX), (5, 9), (5, 0), (0, 9)] {
        let mut options = vec![58, 4];
        options.extend(u32::to_be_bytes(t1));
        options.extend([59, 4]);
        options.extend(u32::to_be_bytes(t2));
        let lease = offered(&options);
        let duration = lease.duration.expect("256 s");
        assert!(!lease.renew_after.is_zero(), "{lease:?}");
        assert!(lease.renew_after < lease.rebind_after && lease.rebind_after < duration);
        if t1 == 5 {
            assert_eq!(lease.renew_after, Duration::from_secs(5));
        }
    }
}

proptest! {
    #[test]
    fn no_message_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        options in proptest::collection::vec(
            (
                prop_oneof![Just(1_u8), Just(3), Just(6), Just(15), Just(26), Just(50..60_u8).prop_flat_map(|range| range), Just(119), Just(121)],
                proptest::collection::vec(any::<u8>(), 0..20),
            ),
            0..20,
        ),
        overload in 0..4_u8,
    ) {
        let (mut message, transaction, hardware_address) = offer();
        for (kind, data) in options {
            message.push(kind);
            message.push(data.len() as u8);
            message.extend(data);
        }
        message.extend([52, 1, overload]);
        message.extend(&noise);
        let fields = noise.len().min(192);
        message[44..44 + fields].copy_from_slice(&noise[..fields]);
        for message in [&message[..], &noise] {
            let mut random = StdRng::seed_from_u64(1);
            if let Ok(Answer::Offer(lease)) = read(message, transaction, hardware_address, &mut random) {
                prop_assert!(lease.routes.len() <= 32 && lease.name_servers.len() <= 8);
                prop_assert!(lease.duration.is_none_or(|time| lease.rebind_after < time));
            }
        }
    }
}
