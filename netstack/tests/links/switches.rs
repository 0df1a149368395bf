//! Switches that the links of a process share.

use crate::{end, exchange, stack_on};
use netstack::link::LinkUrl;
use netstack::switch::{Switch, SwitchConfig};
use std::io::ErrorKind;

#[tokio::test]
async fn stacks_that_name_a_switch_share_it() {
    let (near, far) = (stack_on(1, "switch://shared-1"), stack_on(2, "switch://shared-1"));
    let _other = stack_on(2, "switch://shared-2");

    exchange(&near, &far, 200_000).await;

    let switch = Switch::shared("shared-1", SwitchConfig::default());
    assert_eq!(switch.ports().len(), 2);
    end(near).await;
    assert_eq!(switch.ports().len(), 1);
}

#[tokio::test]
async fn a_shared_switch_lasts_as_long_as_its_ports() {
    let open = |url: &str| url.parse::<LinkUrl>().expect("right").open();
    let first = open("switch://shared-3/mtu=9000").expect("a new one");
    let second = open("switch://shared-3").expect("that of the first");
    let error = open("switch://shared-3/mtu=1500").expect_err("another MTU");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("has an MTU of 9000"), "{error}");
    drop((first, second));

    let again = open("switch://shared-3/mtu=1500");

    assert!(again.is_ok(), "{again:?}");
}
