//! The chat in threads: a reader and a writer for each member, joined by a channel.

use crate::LINES_MAX;
use netstack::blocking::{TcpListener, TcpStream};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The members, with a channel to the writer of each.
#[derive(Default)]
struct Room {
    members: Mutex<HashMap<SocketAddr, SyncSender<String>>>,
}

/// Serves until the stack ends.
pub(crate) fn serve(listener: &TcpListener) {
    let room = Arc::new(Room::default());
    while let Ok((stream, peer)) = listener.accept() {
        let room = room.clone();
        thread::spawn(move || {
            let why = match talk(stream, peer, &room) {
                Ok(()) => String::new(),
                Err(error) => format!(" ({error})"),
            };
            room.members().remove(&peer);
            room.send(None, &format!("{peer} left{why}\n"));
        });
    }
}

/// Serves a member until it leaves.
fn talk(stream: TcpStream, peer: SocketAddr, room: &Room) -> io::Result<()> {
    let (sender, received) = mpsc::sync_channel::<String>(LINES_MAX);
    room.members().insert(peer, sender);
    room.send(None, &format!("{peer} joined\n"));
    let mut to = stream.try_clone()?;
    // Ends with the sender, or when writing to the member fails.
    thread::spawn(move || received.iter().try_for_each(|line| to.write_all(line.as_bytes())));
    for line in BufReader::new(stream).lines() {
        room.send(Some(peer), &format!("{peer}: {}\n", line?));
    }
    Ok(())
}

impl Room {
    /// Sends a line to all members except its sender.
    fn send(&self, by: Option<SocketAddr>, text: &str) {
        for (_, member) in self.members().iter().filter(|(peer, _)| Some(**peer) != by) {
            // Fails for a member that is too slow, or leaving.
            let _ = member.try_send(text.to_owned());
        }
    }

    fn members(&self) -> MutexGuard<'_, HashMap<SocketAddr, SyncSender<String>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
