//! Captures by a control socket.

use super::{World, stack};
use std::io::Read;
use std::time::{Duration, Instant};

/// The beginning of a pcapng file.
const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

#[tokio::test]
async fn a_capture_has_what_its_filter_accepts() {
    let world = World::new();
    let mut capture = world.client().capture("udp port 9").expect("a filter");
    let stopper = capture.stopper().expect("a duplicate");
    let socket = world.near.net().named("probe").udp_bind("10.0.0.1:0").await.expect("a free port");

    socket.send_to(b"to be seen", "10.0.0.2:9").await.expect("a route");
    socket.send_to(b"to be hidden", "10.0.0.2:10").await.expect("a route");
    let mut file = vec![0; 4];
    capture.read_exact(&mut file).expect("the beginning of a file");
    wait_until(&mut file, &mut capture, b"to be seen");
    stopper.stop().expect("the stack is there");
    capture.read_to_end(&mut file).expect("the end of the file");

    assert_eq!(file[..4], MAGIC);
    assert!(contains(&file, b"to be seen") && !contains(&file, b"to be hidden"));
    // Whose it is, and what the stack has decided.
    assert!(contains(&file, b" of probe, thread ") && contains(&file, b": sent"), "no comment");
}

#[test]
fn a_mistake_in_a_filter_is_named() {
    let world = World::new();

    let error = world.client().capture("port eighty").map(|_| ()).expect_err("no filter");

    assert!(error.to_string().contains("eighty"), "{error}");
}

#[test]
fn a_client_gone_in_the_middle_of_a_capture_leaves_nothing() {
    let world = World::new();
    for _ in 0..3 {
        drop(world.client().capture("").expect("all frames"));
    }

    let mut client = world.client();
    let deadline = Instant::now() + Duration::from_secs(30);
    while stack(&mut client).clients > 1 {
        assert!(Instant::now() < deadline, "{:?}", stack(&mut client));
        std::thread::yield_now();
    }
    assert_eq!(stack(&mut client).name, "netstack");
}

fn wait_until(file: &mut Vec<u8>, capture: &mut impl Read, wanted: &[u8]) {
    let mut piece = [0; 4096];
    while !contains(file, wanted) {
        let n = capture.read(&mut piece).expect("a piece");
        assert!(n > 0, "the end of the file");
        file.extend(&piece[..n]);
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}
