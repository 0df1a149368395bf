//! Lifetimes across a suspend of the machine.

use super::*;
use crate::Clock;

#[tokio::test(start_paused = true)]
async fn state_that_expired_in_suspend_is_not_used() {
    let (device, far) = device::pipe(64, 1500);
    let clock = Clock::new();
    let builder = Builder::new().clock(clock.clone()).slaac(Config::default());
    let stack = builder.spawn(device).expect("a stack");
    far.recv().await.expect("a question");
    let options = [
        prefix("fd00:7::", 64, ON_LINK | FOR_ADDRESSES, 3 * HOUR, HOUR),
        prefix("fd00:8::", 64, ON_LINK | FOR_ADDRESSES, 30 * HOUR, 2 * HOUR),
        name_servers(700, &["fd00:7::53"]),
        search_domain(u32::MAX),
    ];
    send(&far, advertisement(ROUTER, 1800, MEDIUM, &options)).await;
    assert_eq!((addresses(&stack).len(), gateways(&stack).len()), (2, 1));

    clock.skip(Duration::from_secs((8 * HOUR).into()));
    let asleep = Instant::now();
    pass(31).await;

    let now = stack.net().network();
    assert_eq!(addresses(&stack).len(), 1, "{now:?}");
    assert!(addresses(&stack)[0].starts_with("fd00:8::"));
    assert_eq!(now.deprecated.len(), 1);
    assert_eq!((gateways(&stack).len(), now.name_servers.len()), (0, 0));
    assert_eq!(now.search_domains, ["lan"]);
    let packet = far.recv().await.expect("routers are solicited again");
    assert_eq!(packet[40], 133);
    assert!(asleep.elapsed().as_secs() <= 31);
}
