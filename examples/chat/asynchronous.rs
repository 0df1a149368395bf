//! The chat in tasks: one for each member, and a broadcast channel between them.

use crate::LINES_MAX;
use netstack::netsocket::{TcpListener, TcpStream};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Sender};

/// A line to all members except its sender.
#[derive(Clone)]
struct Line {
    by: Option<SocketAddr>,
    text: String,
}

/// Serves until the stack ends.
pub(crate) async fn serve(listener: TcpListener) {
    let (room, _) = broadcast::channel(LINES_MAX);
    while let Ok((stream, peer)) = listener.accept().await {
        let room = room.clone();
        tokio::spawn(async move {
            let why = match talk(stream, peer, &room).await {
                Ok(()) => String::new(),
                Err(error) => format!(" ({error})"),
            };
            send(&room, None, format!("{peer} left{why}\n"));
        });
    }
}

/// Serves a member until it leaves.
async fn talk(mut stream: TcpStream, peer: SocketAddr, room: &Sender<Line>) -> io::Result<()> {
    let mut received = room.subscribe();
    send(room, None, format!("{peer} joined\n"));
    let (from, mut to) = stream.split();
    let mut lines = BufReader::new(from).lines();
    loop {
        // Whichever is not ready is dropped, and loses nothing by it.
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => send(room, Some(peer), format!("{peer}: {line}\n")),
                None => return Ok(()),
            },
            line = received.recv() => match line {
                Ok(line) if line.by == Some(peer) => {}
                Ok(line) => to.write_all(line.text.as_bytes()).await?,
                Err(RecvError::Lagged(n)) => {
                    to.write_all(format!("{n} lines missed\n").as_bytes()).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

fn send(room: &Sender<Line>, by: Option<SocketAddr>, text: String) {
    // Fails if there is no other member.
    let _ = room.send(Line { by, text });
}
