//! `ioctl` about interfaces and routes (netdevice(7)).

use crate::run::call::Call;
use crate::run::shown::Shown;
use crate::run::supervisor::{Held, Supervisor};
use netfd::netlink::{Ifreq, Server};
use netfd::posix::Family;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use std::sync::Arc;

/// The requests, of linux/sockios.h, that are no `ifreq` about an interface.
const ADD_ROUTE: u32 = 0x890b;
const DELETE_ROUTE: u32 = 0x890c;
const LIST_ADDRESSES: u32 = 0x8912;
const SET_ADDRESS: u32 = 0x8916;
const DELETE_ADDRESS: u32 = 0x8936;
const GET_UNSENT: u32 = 0x894b;
/// Before these requests are about the socket itself, as SIOCATMARK.
const FIRST: u32 = ADD_ROUTE;
/// Of a protocol: for AF_UNIX, what opens the file of a name.
const PROTOCOL: std::ops::RangeInclusive<u32> = 0x89e0..=0x89ef;
/// Those of families which have interfaces of the kernel, as CAN, may see these.
const NAMES: [u32; 2] = [0x8910, 0x8933];

/// The layout of a `struct ifconf`: a length in bytes, and where to.
const IFCONF_BYTES: u64 = 16;

pub(super) fn request(supervisor: &Arc<Supervisor>, call: Call) {
    let request = call.argument(1) as u32;
    if request < FIRST || request == GET_UNSENT || PROTOCOL.contains(&request) {
        return call.pass();
    }
    match supervisor.domain(&call) {
        // Files and devices have other requests of the same numbers.
        None => return call.pass(),
        // Inherited: those of a program are AF_UNIX to the kernel.
        Some(AddressFamily::INET | AddressFamily::INET6 | AddressFamily::PACKET) => {
            return call.pass();
        }
        Some(AddressFamily::UNIX | AddressFamily::NETLINK) => {}
        Some(_) if NAMES.contains(&request) => return call.pass(),
        Some(_) => {}
    }
    let held = supervisor.find(&call).map(|(_, held)| held);
    let is_v6 = matches!(held, Some(Held::Ip(socket)) if socket.family() == Family::V6);
    let server = supervisor.netlink.clone();
    supervisor.park(call.task(), async move {
        let done = answer(&server, &call, request, is_v6).await;
        call.end(done.map(|()| 0));
    });
}

async fn answer(
    server: &Server<Shown>,
    call: &Call,
    request: u32,
    is_v6: bool,
) -> Result<(), Errno> {
    let at = call.argument(2);
    match request {
        LIST_ADDRESSES => list(call, at, &server.ifconf().await?),
        SET_ADDRESS | DELETE_ADDRESS if is_v6 => {
            server.netdevice_v6(request, &given(call, at)?).await
        }
        // In a structure of its own.
        ADD_ROUTE | DELETE_ROUTE if is_v6 => Err(Errno::PERM),
        ADD_ROUTE | DELETE_ROUTE => server.rtentry(request, &given(call, at)?).await,
        _ => {
            let mut ifreq = given(call, at)?;
            server.netdevice(request, &mut ifreq).await?;
            call.write(at, &ifreq)
        }
    }
}

/// Writes as many entries as there is room for; the length that all have if there is none.
fn list(call: &Call, at: u64, all: &[Ifreq]) -> Result<(), Errno> {
    let mut ifconf = [0; IFCONF_BYTES as usize];
    call.read(at, &mut ifconf)?;
    let (len, buf) = ifconf.split_at(8);
    let room = i32::from_ne_bytes([len[0], len[1], len[2], len[3]]);
    let buf = u64::from_ne_bytes(buf.try_into().map_err(|_| Errno::FAULT)?);
    let bytes = all.concat();
    let entry = size_of::<Ifreq>();
    let len = match buf {
        0 => bytes.len(),
        _ => {
            let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
            let len = (room / entry * entry).min(bytes.len());
            call.write(buf, &bytes[..len])?;
            len
        }
    };
    call.write(at, &(len as u32).to_ne_bytes())
}

/// A structure of the program.
fn given<const LEN: usize>(call: &Call, at: u64) -> Result<[u8; LEN], Errno> {
    let mut bytes = [0; LEN];
    call.read(at, &mut bytes)?;
    Ok(bytes)
}
