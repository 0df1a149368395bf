//! A link that comes up later.

use super::*;
use crate::device::cable::Cabled;

#[tokio::test(start_paused = true)]
async fn a_server_is_asked_at_once_when_the_link_comes_up() {
    let (device, far) = device::pipe(64, 1500);
    let (device, cable) = Cabled::new(device);
    let server = Server(far);
    let stack = Builder::new().dhcp(Config::default()).spawn(device).expect("a stack");
    // Long enough for the client to ask a minute apart.
    for _ in 0..6 {
        server.expect(Kind::Discover).await;
    }
    sleep(Duration::from_secs(1)).await;

    let plugged = Instant::now();
    cable.plug(true);
    server.expect(Kind::Discover).await;
    assert_eq!(plugged.elapsed(), Duration::ZERO);
    // And so is the next one, as before.
    server.expect(Kind::Discover).await;
    assert!((3..=5).contains(&seconds(plugged)), "{:?}", plugged.elapsed());
    assert!(stack.net().network().link.has_carrier);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_verified_when_the_link_comes_up_again() {
    let (device, far) = device::pipe(64, 1500);
    let (device, cable) = Cabled::new(device);
    let server = Server(far);
    cable.plug(true);
    let stack = Builder::new().dhcp(Config::default()).spawn(device).expect("a stack");
    server.lease(OWN).await;
    until_bound(&stack, OWN).await;
    cable.plug(false);
    sleep(Duration::from_secs(5)).await;
    assert!(!stack.net().network().link.has_carrier);

    let plugged = Instant::now();
    cable.plug(true);

    let asked = server.expect(Kind::Request).await;
    assert_eq!(plugged.elapsed(), Duration::ZERO);
    assert_eq!((asked.own, asked.option(50)), (UNSPECIFIED, Some(&OWN.octets()[..])));
    server.send(&asked.lease(Kind::Ack, OWN)).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(stack.net().network().addresses.len(), 1);
}
