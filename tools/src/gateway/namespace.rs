//! Links in another network namespace.

use super::Args;
use super::lan::Lan;
use crate::route;
use anyhow::{Context, Result, anyhow, bail};
use netstack::device::InterfaceConfig;
use netstack::link::{LinkDevice, LinkUrl};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(PathBuf);

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(match text.parse::<u32>() {
            Ok(process) => format!("/proc/{process}/ns/net").into(),
            Err(_) => text.into(),
        }))
    }
}

/// Opens a link, in another namespace if the flags name one.
pub(super) fn open(url: &LinkUrl, lan: &Lan, args: &Args) -> Result<LinkDevice> {
    let Some(Place(path)) = &args.netns else {
        let config = InterfaceConfig { mtu: args.mtu, ..Default::default() };
        return url.open_with(&config).with_context(|| url.to_string());
    };
    let namespace = File::open(path).with_context(|| path.display().to_string())?;
    let opened = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Of this thread alone, which ends with the scope.
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("entering {}: needs CAP_SYS_ADMIN", path.display()))?;
            open_here(url, lan, args)
        });
        thread.join()
    });
    opened.unwrap_or_else(|_| Err(anyhow!("{url}: opening it has failed")))
}

fn open_here(url: &LinkUrl, lan: &Lan, args: &Args) -> Result<LinkDevice> {
    if !url.makes_interface() {
        bail!("--netns: {url} makes no interface of the kernel, as tap://tap0 does");
    }
    let mut config = InterfaceConfig { mtu: args.mtu, ..Default::default() };
    if args.configure {
        config.host_addresses = lan.first_guest_addresses().to_vec();
    }
    let device = url.open_with(&config).with_context(|| url.to_string())?;
    if args.configure {
        let name = match &device {
            LinkDevice::Tap(tap) => tap.name(),
            LinkDevice::Tun(tun) => tun.name(),
            _ => bail!("--configure: {url} makes no interface"),
        };
        route::set_up("lo").context("the loopback interface of the namespace")?;
        for own in lan.first_guest_addresses() {
            let gateway = lan.gateway_like(own.addr());
            route::add_default_route(name, gateway).context("the routes of the namespace")?;
        }
    }
    Ok(device)
}
