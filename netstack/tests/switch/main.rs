//! The switch: with frames by hand, against a model, and with stacks on it.

mod bounds;
mod learning;
mod model;
mod stacks;
mod vlan;

use bytes::Bytes;
use netstack::switch::{PortConfig, RawPort, Switch, SwitchConfig, Vlan};

/// The hardware address of host `number`.
fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

const ALL: [u8; 6] = [0xff; 6];

fn frame(to: [u8; 6], from: [u8; 6], content: &[u8]) -> Bytes {
    [&to[..], &from, &[0x88, 0xb5], content].concat().into()
}

/// The same with a tag in front of its type.
fn tagged(frame: &Bytes, control: u16) -> Bytes {
    [&frame[..12], &[0x81, 0x00], &control.to_be_bytes(), &frame[12..]].concat().into()
}

fn switch() -> Switch {
    Switch::new(SwitchConfig::default())
}

fn port(switch: &Switch) -> RawPort {
    switch.raw_port(PortConfig::default()).expect("room for a port")
}

fn vlan_port(switch: &Switch, vlan: Vlan) -> RawPort {
    switch.raw_port(PortConfig { vlan, ..PortConfig::default() }).expect("room for a port")
}

fn received(port: &RawPort) -> Vec<Bytes> {
    std::iter::from_fn(|| port.try_recv()).collect()
}

/// Every received frame was sent or dropped.
fn assert_adds_up(switch: &Switch) {
    let all = switch.statistics();
    assert_eq!(
        all.received.frames - all.flooded + all.flood_copies,
        all.sent.frames + all.dropped_total(),
        "{all:?}"
    );
}
