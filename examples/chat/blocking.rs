//! The chat in threads: one that reads for each member and one that writes, and a channel to it.

use crate::LINES_MAX;
use netstack::blocking::{TcpListener, TcpStream};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Who is here, and how they are told something.
#[derive(Default)]
struct Room {
    members: Mutex<HashMap<SocketAddr, SyncSender<String>>>,
}

/// Ends when the stack does.
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
            room.say(None, &format!("{peer} left{why}\n"));
        });
    }
}

/// Ends when the member does.
fn talk(stream: TcpStream, peer: SocketAddr, room: &Room) -> io::Result<()> {
    let (sender, heard) = mpsc::sync_channel::<String>(LINES_MAX);
    room.members().insert(peer, sender);
    room.say(None, &format!("{peer} joined\n"));
    let mut to = stream.try_clone()?;
    // Ends with the sender, or when the member can no longer be told anything.
    thread::spawn(move || heard.iter().try_for_each(|line| to.write_all(line.as_bytes())));
    for line in BufReader::new(stream).lines() {
        room.say(Some(peer), &format!("{peer}: {}\n", line?));
    }
    Ok(())
}

impl Room {
    /// Tells everybody, but not who said it.
    fn say(&self, by: Option<SocketAddr>, text: &str) {
        for (_, member) in self.members().iter().filter(|(peer, _)| Some(**peer) != by) {
            // Fails for a member who is slow to read, or leaving.
            let _ = member.try_send(text.to_owned());
        }
    }

    fn members(&self) -> MutexGuard<'_, HashMap<SocketAddr, SyncSender<String>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
