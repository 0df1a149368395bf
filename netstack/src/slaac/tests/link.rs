//! A link that comes up later.

use super::*;
use crate::device::cable::Cabled;
use crate::wire::Icmpv6Message;

/// How many ICMPv6 messages of each kind were sent since this was called last.
fn sent(far: &PipeEnd) -> impl Fn(Icmpv6Message) -> usize {
    let frames: Vec<_> = std::iter::from_fn(|| far.try_recv()).collect();
    move |kind| {
        let kind = Some(u8::from(kind));
        frames.iter().filter(|frame| frame.get(54).copied() == kind).count()
    }
}

#[tokio::test(start_paused = true)]
async fn link_up_solicits_routers_and_probes_addresses() {
    let (device, far) = device::ethernet_pipe(64, 1500);
    let (device, cable) = Cabled::new(device);
    let stack = Builder::new().slaac(Config::default()).spawn(device).expect("a stack");
    pass(120).await;
    let before = sent(&far);
    assert_eq!(before(Icmpv6Message::NeighborSolicit), 1);
    assert!(before(Icmpv6Message::RouterSolicit) > 3);

    cable.plug(true);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(stack.net().network().tentative.len(), 1, "the link-local one, once more");
    pass(2).await;

    assert_eq!(stack.net().network().tentative, [] as [IpAddr; 0]);
    let count = sent(&far);
    assert_eq!(count(Icmpv6Message::NeighborSolicit), 1);
    assert_eq!(count(Icmpv6Message::NeighborAdvert), 1);
    // After a delay of up to a second, and not an hour.
    assert_eq!(count(Icmpv6Message::RouterSolicit), 1);
}

/// Routers such as passt answer the unspecified address by unicast.
#[tokio::test(start_paused = true)]
async fn routers_are_asked_from_the_link_local_address() {
    let (device, far) = device::ethernet_pipe(64, 1500);
    let stack = Builder::new().slaac(Config::default()).spawn(device).expect("a stack");
    pass(10).await;

    let frames = std::iter::from_fn(|| far.try_recv());
    let kind = u8::from(Icmpv6Message::RouterSolicit);
    let asked: Vec<_> = frames.filter(|frame| frame.get(54) == Some(&kind)).collect();
    let [first, second, ..] = &asked[..] else { panic!("{asked:?}") };
    let source = |frame: &Bytes| <[u8; 16]>::try_from(&frame[22..38]).expect("an address");
    assert_eq!((source(first), first.len()), ([0; 16], 62), "it is tentative");
    let IpAddr::V6(own) = stack.net().network().addresses[0].addr() else { panic!("IPv6") };
    assert_eq!(source(second), own.octets());
    // Its hardware address is in an option.
    assert_eq!(second[62..], [&[1, 1], &second[6..12]].concat());
}
