//! URLs of links, right and wrong.

use super::*;

#[test]
fn each_mistake_in_a_url_is_named() {
    for (text, expected) in [
        ("tun0", "the scheme is missing, for example \"tun://tun0\""),
        ("", "the scheme is missing"),
        ("eth://eth0", "\"eth\" is no scheme of a link: tun, tap, fd"),
        ("tun://", "a name is missing behind \"tun://\", for example \"tun://tun0\""),
        ("tap:///mtu=1500", "a name is missing behind \"tap://\""),
        ("fd://x", "\"x\" is not the number of a descriptor"),
        ("fd://-1", "\"-1\" is not the number of a descriptor"),
        ("fd://3/offload=on", "\"offload\" is no option of fd://: mtu"),
        ("tun://tun0/mtuu=1", "\"mtuu\" is no option of tun://: mtu, offload, queues"),
        ("tun://tun0/mtu=67", "mtu=67 is not a number of bytes from 68 to 65535"),
        ("tun://tun0/mtu", "mtu is not a number of bytes"),
        ("tun://tun0/queues=0", "queues=0 is not a number from 1 to 256"),
        ("packet://", "a name is missing behind \"packet://\", for example \"packet://eth0\""),
        ("packet://v0/queues=2", "\"queues\" is no option of packet://: mtu, offload"),
        ("tun://tun0/offload=maybe", "offload=maybe is neither offload=on nor offload=off"),
        ("unix-stream://", "a path is missing behind \"unix-stream://\""),
        ("wg:///a[offload=on]", "\"offload\" is no option of wg://: mtu"),
        (
            "unix-stream:///a[local=b]",
            "\"local\" is no option of unix-stream://: listen, mtu, once",
        ),
        ("unix-stream:///a[listen=1]", "listen has no value"),
        ("unix-dgram:///a[local=/b]", "the value of local is empty: one with a '/' needs quotes"),
        ("unix-dgram:///a[listen/local=b]", "local beside listen"),
        ("unix-dgram:///a[local]", "local is not a path"),
        ("ptp://", "a path is missing behind \"ptp://\""),
        ("switch://lan/vlan=4095", "vlan=4095 is no virtual LAN from 1 to 4094"),
        ("vde:///a[port=0]", "port=0 is not the number of a port from 1"),
        ("vde:///a[port]", "port has no value, for example port=3"),
        ("vde:///a[mode=9]", "mode=9 is no octal mode up to 0777"),
        ("vde:///a[portgroup='a/b']", "portgroup=a/b is not a name in the switch's directory"),
        ("vde:///a[3/portgroup=b]", "portgroup beside port"),
        ("vde:///a[listen]", "\"listen\" is no option of vde://: group, mode, mtu, port"),
        ("tun://tun%d", "'%' needs two hexadecimal digits"),
    ] {
        let error = text.parse::<LinkUrl>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_url_is_the_device_and_its_options() {
    let url: LinkUrl = "tap://tap0/mtu=9000/offload=off".parse().expect("right");
    assert_eq!(url.target, Target::Tap("tap0".into()));
    assert_eq!((url.mtu, url.offload), (Some(9000), Some(InterfaceOffload::Off)));
    assert_eq!(url.medium(), Some(Medium::Ethernet));

    let url: LinkUrl = "fd://3".parse().expect("right");
    assert_eq!((url.target, url.mtu, url.offload), (Target::Descriptor(3), None, None));

    let url: LinkUrl = "unix-dgram:///a[local='/b'/mtu=9000]".parse().expect("right");
    let (path, local) = ("/a".into(), Some("/b".into()));
    let expected = Target::Datagram { path, listens: false, local, greets: false };
    assert_eq!((url.target, url.mtu), (expected, Some(9000)));
}

#[test]
fn a_port_of_a_vde_switch_is_named_as_in_vde() {
    let config = |text: &str| match text.parse::<LinkUrl>().expect(text).target {
        Target::Vde(config) => config,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(config("vde://"), VdeConfig::default());
    let directory = Some(PathBuf::from("/tmp/sw"));
    let third = VdeConfig { directory, port: Some(3), ..VdeConfig::default() };
    for text in ["vde:///tmp/sw[3]", "vde:///tmp/sw[port=3]", "vde:///tmp/sw[/portgroup=3]"] {
        assert_eq!(config(text), third, "{text}");
    }
    let other = config("vde:///tmp/sw[portgroup=lan/group=vde/mode=0770/mtu=9000]");
    assert_eq!(other.port_group.as_deref(), Some("lan"));
    assert_eq!((other.group.as_deref(), other.mode), (Some("vde"), Some(0o770)));
}

#[test]
fn a_descriptor_that_is_no_link_is_refused() {
    let url: LinkUrl = format!("fd://{}", RawFd::MAX).parse().expect("right");
    let error = url.open().expect_err("not open");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("is not open"), "{error}");

    let null = std::fs::File::open("/dev/null").expect("there");
    let error = LinkDevice::from_fd(null.into(), None).expect_err("no link");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
}
