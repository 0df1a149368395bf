use super::*;
use bytes::Bytes;
use netcore::DropReason;
use tokio::time::Instant;

/// A UDP datagram from 10.0.0.1:1000 to 10.0.0.2:53, received and dropped.
fn datagram() -> TappedFrame {
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes.extend([3, 232, 0, 53, 0, 8, 0, 0]);
    let decision = Decision::Received(Some(Err(DropReason::NoListener)), None);
    TappedFrame {
        at: Instant::now(),
        bytes: Bytes::from(bytes),
        socket: None,
        owner: None,
        decision,
    }
}

fn accepts(filter: &str) -> bool {
    let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    filter.accepts(&datagram(), Medium::Ip)
}

#[test]
fn expressions_accept_what_tcpdump_would() {
    for filter in [
        "",
        "udp",
        "ip and not ip6",
        "host 10.0.0.1",
        "10.0.0.2",
        "dst host 10.0.0.2",
        "src net 10.0.0.0/8",
        "net 10.0.0.77/24",
        "udp port 53",
        "udp dst port 53 and src port 1000",
        "portrange 50-60",
        "tcp or (udp and dst port 53)",
        "tcp and port 1 or udp",
        "!tcp",
        "not (src port 53)",
        "inbound and dropped",
    ] {
        assert!(accepts(filter), "{filter}");
    }
    for filter in [
        "tcp",
        "arp",
        "icmp or icmp6",
        "src host 10.0.0.2",
        "tcp port 53",
        "dst port 1000",
        "portrange 54-60",
        "udp and (port 1 or port 2)",
        "outbound",
        "repeated",
        "not dropped",
    ] {
        assert!(!accepts(filter), "{filter}");
    }
}

#[test]
fn a_wrong_filter_names_the_word() {
    let nested = "(".repeat(100);
    let long = "tcp and ".repeat(2_000);
    for (filter, message) in [
        ("tcp prot 80", "word 2, \"prot\": expected \"and\", \"or\" or the end"),
        ("port http", "word 2, \"http\": expected a port"),
        ("host", "expected an address at the end"),
        ("(tcp", "expected \")\" at the end"),
        ("tcp and", "expected a condition at the end"),
        ("portrange 1", "word 2, \"1\": expected two ports, such as 8000-8999"),
        (&nested, "word 66, \"(\": expected less than 64 levels"),
        (&long, "word 1025, \"tcp\": expected an end: a filter has at most 1,024 words"),
    ] {
        let error = filter.parse::<Filter>().expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}
