//! A peer that is no stack of ours: it answers ARP and ICMP echo, as the smallest guest does.

use crate::{end, path, stack_on};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::Duration;
use tokio::time::timeout;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ADDRESS: [u8; 4] = [10, 0, 0, 9];

/// The answer of the peer to a frame: to an ARP request (RFC 826) or to an echo request (RFC 792).
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let mut answer = frame.to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&MAC);
    match (frame.get(12..14)?, frame.get(20..22)) {
        ([0x08, 0x06], Some([0, 1])) if frame.get(38..42)? == ADDRESS => {
            answer[21] = 2;
            answer[22..28].copy_from_slice(&MAC);
            answer[28..32].copy_from_slice(&ADDRESS);
            answer[32..42].copy_from_slice(&frame[22..32]);
            Some(answer)
        }
        ([0x08, 0x00], _) if frame.get(23)? == &1 && frame.get(34)? == &8 => {
            answer[26..30].copy_from_slice(&frame[30..34]);
            answer[30..34].copy_from_slice(&frame[26..30]);
            answer[34] = 0;
            // Type 8 becomes 0: the sum grows by as much (RFC 1624).
            let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
            let sum = (sum & 0xffff) + (sum >> 16);
            answer[36..38].copy_from_slice(&(sum as u16).to_be_bytes());
            Some(answer)
        }
        _ => None,
    }
}

async fn ping(url: &str) {
    let stack = stack_on(1, url);
    let socket = stack.net().ping(IpAddr::from(ADDRESS)).await.expect("a route");
    for sequence in 0..3 {
        let reply = socket.ping(sequence, b"0123456789");
        let (reply, _) =
            timeout(Duration::from_secs(10), reply).await.expect(url).expect("an answer");
        assert_eq!(reply.payload, &b"0123456789"[..]);
    }
    end(stack).await;
}

#[tokio::test]
async fn a_guest_on_a_stream_socket_answers_pings() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = path(folder.path(), "guest");
    let listener = std::os::unix::net::UnixListener::bind(&at).expect("a new path");
    let guest = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _): (UnixStream, _) = listener.accept()?;
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).is_err() {
                return Ok(());
            }
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame)?;
            if let Some(answer) = answer(&frame) {
                // In two writes, as passt does it.
                stream.write_all(&(answer.len() as u32).to_be_bytes())?;
                stream.write_all(&answer)?;
            }
        }
    });

    ping(&format!("unix-stream://{at}")).await;

    guest.join().expect("no panic").expect("a good end");
}

#[tokio::test]
async fn a_guest_on_a_datagram_socket_answers_pings() {
    let folder = tempfile::tempdir().expect("a folder");
    let (at, own) = (path(folder.path(), "guest"), path(folder.path(), "stack"));
    let socket = UnixDatagram::bind(&at).expect("a new path");
    let guest = thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 2000];
        let mut echoes = 0;
        while echoes < 3 {
            let (len, sender) = socket.recv_from(&mut buffer)?;
            if let Some(answer) = answer(&buffer[..len]) {
                echoes += usize::from(answer[12..14] == [0x08, 0x00]);
                socket.send_to_addr(&answer, &sender)?;
            }
        }
        Ok(())
    });

    ping(&format!("unix-dgram://{at}[local='{own}']")).await;

    guest.join().expect("no panic").expect("a good end");
}
