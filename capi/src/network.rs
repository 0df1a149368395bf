//! Addresses, routes and the link of a stack.

use crate::failure::{Failure, Result};
use crate::stack::Stack;
use ipnet::IpNet;
use netstack::Route;
use rustix::io::Errno;
use std::net::IpAddr;

fn prefix(address: IpAddr, prefix_len: libc::c_int) -> Result<IpNet> {
    let len = u8::try_from(prefix_len).map_err(|_| invalid(prefix_len))?;
    IpNet::new(address, len).map_err(|_| invalid(prefix_len))
}

fn invalid(prefix_len: libc::c_int) -> Failure {
    Failure::new(Errno::INVAL, format!("{prefix_len} is no length of a prefix of this family"))
}

pub(crate) fn add_address(stack: &Stack, address: IpAddr, prefix_len: libc::c_int) -> Result<()> {
    let address = prefix(address, prefix_len)?;
    Ok(stack.block_on(stack.net.control().add_address(address))?)
}

pub(crate) fn remove_address(
    stack: &Stack,
    address: IpAddr,
    prefix_len: libc::c_int,
) -> Result<()> {
    let address = prefix(address, prefix_len)?;
    // As the kernel, which has it with another prefix only.
    if !stack.net.network().addresses.contains(&address) {
        return Err(Errno::ADDRNOTAVAIL.into());
    }
    Ok(stack.block_on(stack.net.control().remove_address(address.addr()))?)
}

pub(crate) fn add_route(
    stack: &Stack,
    destination: IpAddr,
    prefix_len: libc::c_int,
    gateway: Option<IpAddr>,
) -> Result<()> {
    let destination = prefix(destination, prefix_len)?.trunc();
    Ok(stack.block_on(stack.net.control().add_route(Route { destination, gateway }))?)
}

pub(crate) fn remove_route(
    stack: &Stack,
    destination: IpAddr,
    prefix_len: libc::c_int,
    gateway: Option<IpAddr>,
) -> Result<()> {
    let destination = prefix(destination, prefix_len)?.trunc();
    let is_it = |route: &Route| {
        route.destination == destination && gateway.is_none_or(|it| route.gateway == Some(it))
    };
    // As rtnetlink has it.
    if !stack.net.network().routes.iter().any(is_it) {
        return Err(Errno::SRCH.into());
    }
    Ok(stack.block_on(stack.net.control().remove_route(destination))?)
}

pub(crate) fn set_link_up(stack: &Stack, is_up: bool) -> Result<()> {
    Ok(stack.block_on(stack.net.control().set_link_up(is_up))?)
}
