//! The kernel and the stack as neighbours on an Ethernet link.

use crate::namespace::{Outcome, program, skip};
use crate::programs::output;
use crate::sockets::kernel;
use crate::wire::{STACK, Wire, at};
use netstack::Builder;
use netstack::device::{InterfaceConfig, Tap};
use netstack::netsocket::netcore::{Error, Network};
use std::time::Duration;

pub(crate) fn ping() -> Outcome {
    program("ping")?;
    program("ip")?;
    Wire::Tap.with_stack(async |stack| {
        let network = stack.net().network();
        let hardware_address = network.link.hardware_address.ok_or("Ethernet")?.to_string();
        for address in STACK {
            let text = kernel(move || {
                let mut ping = program("ping").map_err(std::io::Error::other)?;
                output(ping.args(["-c", "20", "-i", "0.05", address]))
                    .map_err(std::io::Error::other)
            });
            let text = text.await?;
            assert!(text.contains("20 received, 0% packet loss"), "{text}");
            let known = output(program("ip")?.args(["neigh", "show", address]))?;
            assert!(known.contains(&hardware_address), "{known}");
            let is_known = ["REACHABLE", "STALE", "DELAY"].iter().any(|word| known.contains(word));
            assert!(is_known, "{known}");
        }
        // It has announced itself, and so is known by its link-local address when that is used.
        let link_local = network.addresses.iter().map(|own| own.addr().to_string());
        let link_local = link_local.into_iter().find(|own| own.starts_with("fe80"));
        let target = format!("{}%tap0", link_local.ok_or("no link-local address")?);
        let text = kernel(move || {
            let mut ping = program("ping").map_err(std::io::Error::other)?;
            output(ping.args(["-c", "5", "-i", "0.05", &target])).map_err(std::io::Error::other)
        });
        let text = text.await?;
        assert!(text.contains("5 received, 0% packet loss"), "{text}");
        Ok(())
    })
}

pub(crate) fn host_unreachable() -> Outcome {
    Wire::Tap.with_stack(async |stack| {
        for address in ["10.9.0.77", "fd00::77"] {
            let connecting = stack.net().tcp_connect(at(address, 9));
            let outcome = tokio::time::timeout(Duration::from_secs(20), connecting).await?;
            let error = outcome.err().ok_or("the address is unused")?;
            assert_eq!(error.kind(), Error::HostUnreachable.kind(), "{address}: {error}");
        }
        Ok(())
    })
}

pub(crate) fn duplicate() -> Outcome {
    Wire::Tap.with_stack(async |stack| {
        stack.net().control().add_address("fd00::1/64".parse()?).await?;

        let settled = |network: &Network| network.tentative.is_empty();
        let network = tokio::time::timeout(Duration::from_secs(10), async {
            stack.net().watch_network().wait_for(settled).await
        });
        let network = network.await??;

        assert!(network.addresses.iter().all(|own| own.addr().to_string() != "fd00::1"));
        assert_eq!(stack.net().snapshot().await?.counters.duplicate_addresses, 1);
        Ok(())
    })
}

pub(crate) fn carrier() -> Outcome {
    let tap =
        match Tap::open(&InterfaceConfig { name: "tap0".into(), ..InterfaceConfig::default() }) {
            Ok(tap) => tap,
            Err(error) => return skip(&error.to_string()),
        };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stack = Builder::new().spawn(tap)?;
        let mut watch = stack.net().watch_network();
        for (state, has_carrier) in [("down", false), ("up", true), ("down", false), ("up", true)] {
            assert!(program("ip")?.args(["link", "set", "tap0", state]).status()?.success());
            let is_so = watch.wait_for(|now| now.link.has_carrier == has_carrier);
            tokio::time::timeout(Duration::from_secs(10), is_so).await??;
        }
        Ok(())
    })
}
