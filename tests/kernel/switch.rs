//! `netstack switch` with uplinks: what is behind them, their virtual LANs, and a record of all frames.

use crate::daemon::{Daemon, Failure};
use crate::namespace::{Outcome, netstack, program};
use crate::programs::output;
use crate::vde::{Switch, ping_from, until, vdens};
use std::path::Path;
use tempfile::TempDir;

/// A switch with the interface tap0 of this machine's kernel behind it, and its ports' URL.
fn switch(folder: &Path, flags: &[&str]) -> Result<(Daemon, String), Failure> {
    let directory = folder.join("lan").display().to_string();
    let mut switch = netstack()?;
    switch.args(["switch", "--vde", &directory, "--uplink", "tap://tap0"]).args(flags);
    let switch = Daemon::start(&mut switch)?;
    switch.expect_output("serving ports at ")?;
    output(program("ip")?.args(["link", "set", "tap0", "up"]))?;
    Ok((switch, format!("vde://{directory}")))
}

/// Gives an interface of the kernel the addresses of a host.
fn address(interface: &str, host: u8) -> Outcome {
    for address in [format!("10.9.0.{host}/24"), format!("fd00::{host}/64")] {
        output(program("ip")?.args(["address", "add", &address, "dev", interface, "nodad"]))?;
    }
    Ok(())
}

/// The kernel behind an uplink is on the LAN, every frame is in the record, and the switch outlives the
/// end of the uplink.
pub(crate) fn uplink() -> Outcome {
    for name in ["vdens", "tshark"] {
        program(name)?;
    }
    let folder = TempDir::new()?;
    let record = folder.path().join("frames.pcapng").display().to_string();
    let (mut switch, url) = switch(folder.path(), &["--monitor", &record])?;
    address("tap0", 1)?;
    let mut near = vdens(&url, 50)?;
    ping_from(&mut near, 1)?;

    output(program("ip")?.args(["link", "delete", "tap0"]))?;
    let ended = switch.expect_output("tap://tap0 has ended")?;
    assert!(ended.contains("tap0 was removed"), "{ended}");
    let _far = vdens(&url, 51)?;
    ping_from(&mut near, 51)?;

    switch.signal("TERM")?;
    assert!(switch.status()?.success());
    let shown = |filter: &str| -> Result<usize, Failure> {
        let mut tshark = program("tshark")?;
        Ok(output(tshark.args(["-r", &record, "-Y", filter]))?.lines().count())
    };
    for (host, pings) in [(1, 4), (51, 4)] {
        let address = format!("(ip.addr==10.9.0.{host} or ipv6.addr==fd00::{host})");
        let echoes = "(icmp.type==8 or icmp.type==0 or icmpv6.type==128 or icmpv6.type==129)";
        // Both ways, each once.
        assert_eq!(shown(&format!("{address} and {echoes}"))?, 2 * pings, "host {host}");
    }
    assert_eq!(shown("_ws.malformed")?, 0);
    Ok(())
}

/// A trunk to Debian's switch: hosts of a virtual LAN reach each other across it, and no others.
pub(crate) fn trunk() -> Outcome {
    program("vdens")?;
    let theirs = Switch::debians()?;
    // Its port 1 is the trunk, 2 and 3 have one virtual LAN each.
    for port in 1..=3 {
        theirs.ask(&format!("port/create {port}"))?;
    }
    for (id, port) in [(10, 2), (20, 3)] {
        theirs.ask(&format!("vlan/create {id}"))?;
        theirs.ask(&format!("vlan/addport {id} 1"))?;
        theirs.ask(&format!("port/setvlan {port} {id}"))?;
    }
    let trunk = format!("{}[1]", theirs.url());
    let vlans = ["--vlan", "uplink1=10t,20t", "--vlan", "1=10", "--vlan", "2=20"];
    let ours = Switch::ours(&[&["--uplink", &trunk], &vlans[..]].concat())?;
    theirs.until_shown("port/print", ": netstack user=", true)?;
    let _far10 = vdens(&format!("{}[2]", theirs.url()), 60)?;
    let _far20 = vdens(&format!("{}[3]", theirs.url()), 61)?;
    let mut near10 = vdens(&format!("{}[1]", ours.url()), 50)?;
    let mut near20 = vdens(&format!("{}[2]", ours.url()), 51)?;

    for (near, own, other) in [(&mut near10, 60, 61), (&mut near20, 61, 60)] {
        ping_from(near, own)?;
        near.write_line(&format!("busybox ping -c 1 -W 1 10.9.0.{other}"))?;
        near.expect_output(" 0 packets received")?;
        near.expect_line("done")?;
    }
    Ok(())
}

/// What is wrong with a flag is named with it.
pub(crate) fn mistakes() -> Outcome {
    let folder = TempDir::new()?;
    let directory = folder.path().join("lan").display().to_string();
    let nowhere = folder.path().join("nowhere/frames").display().to_string();
    for (flags, expected) in [
        (&["--uplink", "packet://no9"][..], "packet://no9: interface no9: No such device"),
        (&["--uplink", "tun://tun0"], "tun://tun0: a switch needs an Ethernet link"),
        (&["--uplink", "tap://tap0", "--vlan", "uplink2=1"], "--vlan: there is no uplink 2"),
        (&["--vde", &directory, "--monitor", &nowhere], &nowhere),
    ] {
        let ended = netstack()?.arg("switch").args(flags).output()?;
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    until("nothing is left", || Ok(!Path::new(&directory).exists()))
}
