//! The switch against a minimal model.

use crate::{ALL, assert_adds_up, frame, mac, received, switch, tagged};
use bytes::Bytes;
use netstack::switch::{PortConfig, RawPort, Switch, SwitchConfig, Vlan, VlanId};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone)]
enum Step {
    Add(Kind),
    Remove(usize),
    Send { port: usize, from: u8, to: Option<u8>, tag: Option<u16> },
    Wait(u64),
}

/// A port: transparent, an access port, or a trunk of VLANs 1 and 2 with or without native VLAN 3.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Access(u16),
    Trunk { has_native: bool },
}

const NATIVE: u16 = 3;

struct Model {
    ports: Vec<(Kind, RawPort)>,
    learned: HashMap<(u16, u8), (netstack::switch::PortId, Instant)>,
}

impl Kind {
    fn vlan(self) -> Vlan {
        let id = |number| VlanId::new(number).expect("valid");
        match self {
            Self::Plain => Vlan::Transparent,
            Self::Access(number) => Vlan::Access(id(number)),
            Self::Trunk { has_native } => Vlan::Trunk {
                allowed: [id(1), id(2)].into(),
                native: has_native.then(|| id(NATIVE)),
            },
        }
    }

    /// The LAN of a frame with this tag; 0 is none.
    fn lan(self, tag: Option<u16>) -> Option<u16> {
        match (self, tag) {
            (Self::Plain, _) => Some(0),
            (Self::Access(lan), None | Some(0)) => Some(lan),
            (Self::Trunk { has_native: true }, None | Some(0 | NATIVE)) => Some(NATIVE),
            (Self::Trunk { .. }, Some(lan @ (1 | 2))) => Some(lan),
            _ => None,
        }
    }

    /// The form of a frame at that port, given the frame without a tag.
    fn look(self, lan: u16, bare: &Bytes, sent: &Bytes) -> Option<Bytes> {
        match (self, lan) {
            (Self::Plain, 0) => Some(sent.clone()),
            (Self::Access(own), _) if own == lan => Some(bare.clone()),
            (Self::Trunk { has_native: true }, NATIVE) => Some(bare.clone()),
            (Self::Trunk { .. }, 1 | 2) => Some(tagged(bare, lan)),
            _ => None,
        }
    }
}

impl Model {
    fn run(&mut self, switch: &Switch, step: &Step, number: usize) {
        match *step {
            Step::Add(kind) => {
                let config = PortConfig { vlan: kind.vlan(), ..PortConfig::default() };
                self.ports.push((kind, switch.raw_port(config).expect("room")));
            }
            Step::Remove(index) if !self.ports.is_empty() => {
                let (_, port) = self.ports.remove(index % self.ports.len());
                self.learned.retain(|_, (id, _)| *id != port.id());
            }
            Step::Send { port, from, to, tag } if !self.ports.is_empty() => {
                self.send(port % self.ports.len(), from, to, tag, number);
            }
            _ => {}
        }
    }

    fn send(&mut self, index: usize, from: u8, to: Option<u8>, tag: Option<u16>, number: usize) {
        let bare = frame(to.map_or(ALL, mac), mac(from), &number.to_be_bytes());
        let sent = tag.map_or(bare.clone(), |tag| tagged(&bare, tag));
        let (kind, port) = &self.ports[index];
        port.send(sent.clone());
        let age = SwitchConfig::default().address_age;
        let lan = kind.lan(tag);
        let goes_to = lan.map(|lan| {
            self.learned.insert((lan, from), (port.id(), Instant::now()));
            let known = to.and_then(|to| self.learned.get(&(lan, to)));
            known.filter(|(_, seen)| seen.elapsed() < age).map(|(id, _)| *id)
        });
        for (other, (kind, receiver)) in self.ports.iter().enumerate() {
            let is_meant = match goes_to {
                None => false,
                Some(Some(id)) => receiver.id() == id,
                Some(None) => true,
            };
            let expected = match lan {
                Some(lan) if is_meant && other != index => kind.look(lan, &bare, &sent),
                _ => None,
            };
            assert_eq!(received(receiver), Vec::from_iter(expected), "at {kind:?}");
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::Plain),
        2 => (1..4_u16).prop_map(Kind::Access),
        1 => any::<bool>().prop_map(|has_native| Kind::Trunk { has_native }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let tag = proptest::option::weighted(0.3, 0..5_u16);
    let to = proptest::option::weighted(0.8, 0..6_u8);
    prop_oneof![
        2 => kinds().prop_map(Step::Add),
        1 => any::<usize>().prop_map(Step::Remove),
        20 => (any::<usize>(), 0..6_u8, to, tag)
            .prop_map(|(port, from, to, tag)| Step::Send { port, from, to, tag }),
        1 => (0..400_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_frame_goes_where_the_model_forwards_it(
        start in proptest::collection::vec(kinds(), 2..6),
        steps in proptest::collection::vec(steps(), 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let switch = switch();
            let mut model = Model { ports: Vec::new(), learned: HashMap::new() };
            let start = start.into_iter().map(Step::Add);
            for (number, step) in start.chain(steps).enumerate() {
                model.run(&switch, &step, number);
                if let Step::Wait(seconds) = step {
                    tokio::time::advance(Duration::from_secs(seconds)).await;
                }
                assert_adds_up(&switch);
            }
        });
    }
}
