//! The stack on an interface of the machine, by a packet socket.

use crate::far::{FAR, Far};
use crate::namespace::{Outcome, netstack, program, skip};
use crate::programs::output;
use netstack::device::{Device, InterfaceOffload, PacketDevice};
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::{Link, Network, Offload, Slot};
use netstack::{Builder, Stack};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// The addresses of the stack, in the networks of the veth.
const STACK: [&str; 2] = ["192.168.78.50/24", "fd78::50/64"];
const PATIENCE: Duration = Duration::from_secs(20);

async fn spawn(device: impl Device) -> Result<Stack, Box<dyn std::error::Error + Send + Sync>> {
    let builder = STACK.iter().try_fold(Builder::new(), |builder, address| {
        address.parse().map(|address| builder.address(address))
    })?;
    let stack = builder.spawn(device)?;
    let settled = |network: &Network| network.tentative.is_empty();
    stack.net().watch_network().wait_for(settled).await?;
    Ok(stack)
}

/// Clients and servers of the kernel at the other end, with large frames in both directions, and the
/// own kernel's traffic on the same interface.
pub(crate) fn beside_the_kernel() -> Outcome {
    for name in ["ip", "ping", "nc", "cmp"] {
        program(name)?;
    }
    let mut far = Far::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sent").display().to_string();
    let url: LinkUrl = "packet://v0".parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let device = url.open()?;
        let link = device.capabilities();
        assert_eq!((link.mtu, link.segment_bytes_max), (1500, Some(65_535)));
        let stack = spawn(device).await?;
        let listener = stack.net().tcp_listen("[::]:5000").await?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let script = format!(
            "set -e; head -c 8000000 /dev/urandom >{file}
            for it in 192.168.78.50 fd78::50; do
                ping -c 3 -i 0.05 -W 2 $it
                ping -c 2 -i 0.05 -W 2 -s 4000 $it
                nc -N -w 5 $it 5000 <{file} | cmp - {file}
            done
            for it in {} {}; do nc -N -l -w 10 $it 6000 <{file} >/dev/null & done
            for it in 1 2 3 4 5 6 7 8 9; do test $(ss -ltn | grep -c 6000) = 2 || sleep 0.1; done",
            FAR[0], FAR[1]
        );
        let far = tokio::task::spawn_blocking(move || far.run(&script).map(|text| (far, text)));
        let (_far, text) = far.await??;
        assert_eq!(text.matches(", 0% packet loss").count(), 4, "{text}");

        let sent = std::fs::read(folder.path().join("sent"))?;
        for host in [format!("{}:6000", FAR[0]), format!("[{}]:6000", FAR[1])] {
            let mut stream = timeout(PATIENCE, stack.net().tcp_connect(host)).await??;
            let mut received = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut received)).await??;
            assert!(received == sent, "{} bytes", received.len());
        }
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// What the kernel sends and receives on the same interface is not seen.
pub(crate) fn own_frames() -> Outcome {
    let mut far = Far::new()?;
    let near = std::fs::read_to_string("/sys/class/net/v0/address");
    let own = [2, 0, 0, 0, 0, 9];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut device = PacketDevice::open("v0", None, InterfaceOffload::Off)?;
        device.attach()?;
        // The interface takes frames to the source of this one: an ARP announcement.
        let mut frame = [0; 60];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&own);
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        let slot = device.transmit().ok_or("room")?;
        slot.send(frame.len(), |room| (room.copy_from_slice(&frame), Offload::default()));

        output(program("ping")?.args(["-c", "3", "-i", "0.05", FAR[0]]))?;
        output(program("ping")?.args(["-c", "3", "-i", "0.05", FAR[1]]))?;
        // To the device, and to others.
        for (host, address) in [("77", "02:00:00:00:00:09"), ("78", "02:00:00:00:00:0a")] {
            let neighbour = format!("192.168.78.{host} lladdr {address} dev v0");
            far.run(&format!(
                "ip neigh add {neighbour}; ping -c 1 -W 0.1 192.168.78.{host} || true"
            ))?;
        }
        far.run("ping -c 1 -W 0.1 -b 192.168.78.255 || true")?;

        let (mut to_own, mut to_all) = (0, 0);
        let reading = async {
            while to_all == 0 {
                poll_fn(|cx| device.poll_receive(cx)).await?;
                while let Some(frame) = device.receive() {
                    let (to, from) = (&frame.data[..6], &frame.data[6..12]);
                    let from = from.iter().map(|byte| format!("{byte:02x}"));
                    let from = from.collect::<Vec<_>>().join(":");
                    assert!(near.as_ref().map_or(true, |near| near.trim() != from), "{frame:?}");
                    assert!(to == own || to[0] & 1 == 1, "{frame:?}");
                    to_own += usize::from(to == own);
                    to_all += usize::from(frame.data.get(30..34) == Some(&[192, 168, 78, 255]));
                }
            }
            Ok::<_, std::io::Error>(())
        };
        timeout(PATIENCE, reading).await??;
        assert_eq!(to_own, 1);
        Ok(())
    })
}

/// The carrier follows the interface, and a deletion ends the stack.
pub(crate) fn carrier() -> Outcome {
    program("ping")?;
    let mut far = Far::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let device = PacketDevice::open("v0", None, InterfaceOffload::Preferred)?;
        let stack = spawn(device).await?;
        let mut watch = stack.net().watch_network();
        let set = |state: &str| -> Outcome {
            output(program("ip")?.args(["link", "set", "v0", state]))?;
            Ok(())
        };
        for (is_near, state) in [(true, "down"), (true, "up"), (false, "down"), (false, "up")] {
            if is_near {
                set(state)?;
            } else {
                far.run(&format!("ip link set v0 {state}"))?;
            }
            let has_carrier = state == "up";
            let is_so = watch.wait_for(|now| now.link.has_carrier == has_carrier);
            timeout(PATIENCE, is_so).await??;
        }
        let pinging = tokio::task::spawn_blocking(move || {
            let text =
                far.run("for it in 1 2 3 4 5; do ping -c 1 -W 1 192.168.78.50 && break; done");
            (far, text)
        });
        // Its namespace would take the veth along.
        let (_far, text) = pinging.await?;
        let text = text?;
        assert!(text.contains("1 received"), "{text}");

        output(program("ip")?.args(["link", "delete", "v0"]))?;
        let ended = timeout(PATIENCE, stack.ended()).await?;
        let error = ended.err().ok_or("it has ended in good order")?;
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        assert!(error.to_string().contains("v0 was removed"), "{error}");
        Ok(())
    })
}

pub(crate) fn refusals() -> Outcome {
    let made = program("ip")?.args(["tuntap", "add", "tun9", "mode", "tun"]).status()?;
    if !made.success() {
        return skip("ip makes no TUN");
    }
    for (name, kind, expected) in [
        ("no9", ErrorKind::NotFound, "interface no9"),
        ("lo", ErrorKind::InvalidInput, "lo is no Ethernet interface"),
        ("tun9", ErrorKind::InvalidInput, "tun9 is no Ethernet interface"),
    ] {
        let error = PacketDevice::open(name, None, InterfaceOffload::Off).err().ok_or("opened")?;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

/// Without the capability the error names it.
pub(crate) fn privilege() -> Outcome {
    let _far = Far::new()?;
    let mut setpriv = program("setpriv")?;
    setpriv.arg("--bounding-set=-net_raw").arg(netstack()?.get_program());
    setpriv.args(["run", "--link", "packet://v0", "--address", STACK[0], "--", "true"]);
    let ended = setpriv.output()?;
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), text.lines().count()), (Some(125), 1), "{text}");
    let expected = "a packet socket on v0: Operation not permitted (os error 1): it needs the \
                    capability CAP_NET_RAW";
    assert!(text.contains(expected), "{text}");
    Ok(())
}

/// A frame of a virtual LAN is not for the interface below, and one with a priority alone is.
pub(crate) fn virtual_lan() -> Outcome {
    program("python3")?;
    let mut far = Far::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut device = PacketDevice::open("v0", None, InterfaceOffload::Off)?;
        device.attach()?;
        // The last bytes number the frames.
        far.run(
            "python3 - <<'END'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('v0', 0))
tags = [b'\\x81\\0\\0\\5', b'\\x88\\xa8\\0\\5', b'\\x81\\0\\xe0\\0', b'']
for number, tag in enumerate(tags):
    s.send(b'\\xff' * 6 + b'\\2\\0\\0\\0\\0\\x0a' + tag + b'\\x88\\xb5' + bytes(45) + bytes([number]))
END",
        )?;
        let mut seen = Vec::new();
        let reading = async {
            while seen.last() != Some(&3) {
                poll_fn(|cx| device.poll_receive(cx)).await?;
                while let Some(frame) = device.receive() {
                    // Of the kinds of protocols for experiments (RFC 5342 appendix B).
                    if frame.data[12..14] == [0x88, 0xb5] {
                        seen.extend(frame.data.last());
                    }
                }
            }
            Ok::<_, std::io::Error>(())
        };
        timeout(PATIENCE, reading).await??;
        assert_eq!(seen, [2, 3]);
        Ok(())
    })
}
