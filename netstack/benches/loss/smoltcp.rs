//! smoltcp alone: two interfaces on the two ends of a pipe, with the same link in front of one.

use crate::TIME;
use bytes::Bytes;
use netcore::device::smoltcp::iface::{Config, Context, Interface, SocketSet};
use netcore::device::smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use netcore::device::smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use netcore::device::smoltcp::time::Instant;
use netcore::device::smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use netcore::{Link as _, Offload, Slot as _};
use netstack::device::{self, Device as _, PipeDevice, PipeEnd};
use netstack::sim::{Impaired, LinkConfig};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

/// What buffers and congestion control a bare smoltcp has. By default it has none of the latter.
pub(crate) const ROWS: [(&str, usize, CongestionControl); 3] = [
    ("smoltcp, 65,535 bytes", 65_535, CongestionControl::None),
    ("smoltcp, 640 KiB", 640 * 1024, CongestionControl::None),
    ("smoltcp, 640 KiB, CUBIC", 640 * 1024, CongestionControl::Cubic),
];

const MTU: usize = 1500;
const PORT: u16 = 80;

/// Sends for the whole time; returns how many bytes arrived.
pub(crate) fn stream(
    link: LinkConfig,
    seed: u64,
    buffer_bytes: usize,
    control: CongestionControl,
) -> usize {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (pipe, end) = device::pipe(1 << 16, MTU);
        let mut near = Host::new(Near(Impaired::new(pipe, link, seed)), 1, buffer_bytes, control);
        let mut far = Host::new(Far { end, inbox: VecDeque::new() }, 2, buffer_bytes, control);
        let (context, sender) = near.parts();
        sender.connect(context, (IpAddress::v4(10, 0, 0, 2), PORT), 49_152).expect("valid");
        far.parts().1.listen(PORT).expect("valid");
        carry(&mut near, &mut far).await
    })
}

/// Drives both until the time is over.
async fn carry(near: &mut Host<Near>, far: &mut Host<Far>) -> usize {
    let start = tokio::time::Instant::now();
    let mut received = 0;
    while start.elapsed() < TIME {
        let now = Instant::from_micros(start.elapsed().as_micros() as i64);
        near.poll(now);
        far.poll(now);
        let block = [7; 64 * 1024];
        let mut has_worked = false;
        while near.parts().1.can_send() {
            has_worked |= near.parts().1.send_slice(&block).expect("open") > 0;
        }
        while far.parts().1.can_recv() {
            let count = far.parts().1.recv(|bytes| (bytes.len(), bytes.len())).expect("open");
            received += count;
            has_worked |= count > 0;
        }
        if has_worked {
            continue;
        }
        near.device.0.flush();
        let due = near.poll_at(now).into_iter().chain(far.poll_at(now)).min();
        let due = due.map(|at| start + Duration::from_micros(at.total_micros() as u64));
        let due = due.unwrap_or(start + TIME).min(start + TIME);
        let Far { end, inbox } = &mut far.device;
        tokio::select! {
            biased;
            packet = end.recv() => inbox.extend(packet),
            ready = poll_fn(|cx| near.device.0.poll_receive(cx)) => ready.expect("both ends"),
            () = tokio::time::sleep_until(due) => {}
        }
    }
    received
}

/// An interface with one socket.
struct Host<D> {
    interface: Interface,
    sockets: SocketSet<'static>,
    device: D,
}

impl<D: Device> Host<D> {
    fn new(mut device: D, host: u8, buffer_bytes: usize, control: CongestionControl) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(host);
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(10, 0, 0, host), 24);
            addresses.push(address).expect("it is the first");
        });
        let buffer = || SocketBuffer::new(vec![0; buffer_bytes]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(control);
        let mut sockets = SocketSet::new(Vec::new());
        sockets.add(socket);
        Self { interface, sockets, device }
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.device, &mut self.sockets);
    }

    fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        self.interface.poll_at(now, &self.sockets)
    }

    fn parts(&mut self) -> (&mut Context, &mut Socket<'static>) {
        let (handle, _) = self.sockets.iter().next().expect("one socket");
        (self.interface.context(), self.sockets.get_mut(handle))
    }
}

fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = MTU;
    capabilities
}

/// The end with the link in front.
struct Near(Impaired<PipeDevice>);

impl Device for Near {
    type RxToken<'a> = Packet;
    type TxToken<'a> = NearToken<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Packet, NearToken<'_>)> {
        let frame = self.0.receive()?;
        Some((Packet(frame.data), NearToken(&mut self.0)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<NearToken<'_>> {
        Some(NearToken(&mut self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

/// The other end.
struct Far {
    end: PipeEnd,
    inbox: VecDeque<Bytes>,
}

impl Device for Far {
    type RxToken<'a> = Packet;
    type TxToken<'a> = FarToken<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Packet, FarToken<'_>)> {
        let packet = self.inbox.pop_front().or_else(|| self.end.try_recv())?;
        Some((Packet(packet), FarToken(&self.end)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<FarToken<'_>> {
        Some(FarToken(&self.end))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

struct Packet(Bytes);

impl phy::RxToken for Packet {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct NearToken<'a>(&'a mut Impaired<PipeDevice>);

impl phy::TxToken for NearToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let slot = self.0.transmit().expect("fewer packets than fit are in a window");
        slot.send(len, |packet| (f(packet), Offload::default()))
    }
}

struct FarToken<'a>(&'a PipeEnd);

impl phy::TxToken for FarToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        assert!(self.0.try_send(packet.into()), "fewer packets than fit are in a window");
        result
    }
}
