//! Virtual LANs.

use crate::{ALL, assert_adds_up, frame, mac, port, received, switch, tagged, vlan_port};
use netstack::switch::{SwitchDropReason, Vlan, VlanId};

fn id(number: u16) -> VlanId {
    VlanId::new(number).expect("a valid number")
}

fn access(number: u16) -> Vlan {
    Vlan::Access(id(number))
}

fn trunk(allowed: &[u16], native: Option<u16>) -> Vlan {
    let allowed = allowed.iter().map(|number| id(*number)).collect();
    Vlan::Trunk { allowed, native: native.map(id) }
}

#[test]
fn access_ports_of_different_lans_do_not_hear_each_other() {
    let switch = switch();
    let (a, b) = (vlan_port(&switch, access(10)), vlan_port(&switch, access(10)));
    let (c, d) = (vlan_port(&switch, access(20)), port(&switch));
    // The same address on two LANs is two entries.
    c.send(frame(ALL, mac(2), b"on another LAN"));
    b.send(frame(ALL, mac(2), b"here"));
    received(&a);

    a.send(frame(ALL, mac(1), b"to all"));
    a.send(frame(mac(2), mac(1), b"to one"));

    assert_eq!((received(&b).len(), received(&c).len(), received(&d).len()), (2, 0, 0));
    let learned: Vec<_> =
        switch.addresses().iter().map(|entry| (entry.vlan, entry.address.0)).collect();
    assert_eq!(learned, [(Some(id(10)), mac(1)), (Some(id(10)), mac(2)), (Some(id(20)), mac(2))]);
    assert_adds_up(&switch);
}

#[test]
fn a_trunk_has_tags_outside_except_on_its_native_lan() {
    let switch = switch();
    let (a, b) = (vlan_port(&switch, access(10)), vlan_port(&switch, access(20)));
    let up = vlan_port(&switch, trunk(&[10, 30], Some(20)));
    let other = vlan_port(&switch, trunk(&[10], None));
    let (from_a, from_b) = (frame(ALL, mac(1), b"from a"), frame(ALL, mac(2), b"from b"));

    a.send(from_a.clone());
    b.send(from_b.clone());
    assert_eq!(received(&up), [tagged(&from_a, 10), from_b]);
    assert_eq!(received(&other), [tagged(&from_a, 10)]);

    let to_a = frame(mac(1), mac(3), b"to a");
    // The priority comes off with the tag, and stays where that does.
    up.send(tagged(&to_a, 0xe000 | 10));
    assert_eq!(received(&a), [to_a]);
    let to_all = frame(ALL, mac(3), b"to all");
    up.send(tagged(&to_all, 0xe000 | 10));
    assert_eq!(received(&other), [tagged(&to_all, 0xe000 | 10)]);
    assert_eq!(received(&a), std::slice::from_ref(&to_all));
    up.send(to_all.clone());
    assert_eq!(received(&b), [to_all]);
    assert_adds_up(&switch);
}

#[test]
fn a_priority_tag_belongs_to_the_ports_vlan() {
    let switch = switch();
    let (a, b) = (vlan_port(&switch, access(10)), vlan_port(&switch, access(10)));
    let up = vlan_port(&switch, trunk(&[10], None));
    let bare = frame(ALL, mac(1), b"urgent");

    a.send(tagged(&bare, 0xa000));

    assert_eq!(received(&b), std::slice::from_ref(&bare));
    assert_eq!(received(&up), [tagged(&bare, 0xa000 | 10)]);
}

#[test]
fn frames_of_a_foreign_vlan_are_dropped() {
    let switch = switch();
    let (a, b) = (vlan_port(&switch, access(10)), vlan_port(&switch, access(20)));
    let up = vlan_port(&switch, trunk(&[10], None));
    let bare = frame(ALL, mac(1), b"");

    a.send(tagged(&bare, 20));
    a.send(tagged(&bare, 10));
    up.send(tagged(&bare, 20));
    up.send(tagged(&bare, 4095));
    up.send(bare);

    let counts: Vec<_> =
        switch.ports().iter().map(|port| port.statistics.dropped(SwitchDropReason::Vlan)).collect();
    assert_eq!(counts, [2, 0, 3]);
    assert_eq!(received(&b).len(), 0);
    assert_eq!(switch.addresses().len(), 0);
    assert_adds_up(&switch);
}

#[test]
fn without_virtual_lans_a_tag_is_content() {
    let switch = switch();
    let (a, b) = (port(&switch), port(&switch));
    let sent = tagged(&frame(ALL, mac(1), b""), 20);
    a.send(sent.clone());
    assert_eq!(received(&b), [sent]);
}
