//! The chat in tasks: one for each member, and a broadcast channel between them.

use crate::LINES_MAX;
use netstack::netsocket::{TcpListener, TcpStream};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Sender};

/// A line for everybody, but not for who said it.
#[derive(Clone)]
struct Line {
    by: Option<SocketAddr>,
    text: String,
}

/// Ends when the stack does.
pub(crate) async fn serve(listener: TcpListener) {
    let (room, _) = broadcast::channel(LINES_MAX);
    while let Ok((stream, peer)) = listener.accept().await {
        let room = room.clone();
        tokio::spawn(async move {
            let why = match talk(stream, peer, &room).await {
                Ok(()) => String::new(),
                Err(error) => format!(" ({error})"),
            };
            say(&room, None, format!("{peer} left{why}\n"));
        });
    }
}

/// Ends when the member does.
async fn talk(mut stream: TcpStream, peer: SocketAddr, room: &Sender<Line>) -> io::Result<()> {
    let mut heard = room.subscribe();
    say(room, None, format!("{peer} joined\n"));
    let (from, mut to) = stream.split();
    let mut lines = BufReader::new(from).lines();
    loop {
        // Whichever is not ready is dropped, and loses nothing by it.
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => say(room, Some(peer), format!("{peer}: {line}\n")),
                None => return Ok(()),
            },
            line = heard.recv() => match line {
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

fn say(room: &Sender<Line>, by: Option<SocketAddr>, text: String) {
    // Fails if nobody is left to hear it.
    let _ = room.send(Line { by, text });
}
