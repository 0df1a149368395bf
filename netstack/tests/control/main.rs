//! The control socket: who can open it, what it answers, and what its clients leave behind.

mod answers;
mod bounds;
#[cfg(feature = "capture")]
mod captures;
mod files;
mod joins;
mod later;

use netstack::control::{Answer, Client, Command, StackInfo};
use netstack::{Pair, Stack, TcpListener, TcpStream};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Two stacks on threads of their own, one of them with a control socket.
struct World {
    near: Stack,
    far: Stack,
    path: PathBuf,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control");
        let (near, far) = Pair::new().control(&path).spawn_threads().expect("two stacks");
        Self { near, far, path, _folder: folder }
    }

    fn client(&self) -> Client {
        connect(&self.path)
    }

    /// Connections to the stack with the control socket, with a listener.
    async fn connections(&self, count: usize) -> (TcpListener, Vec<[TcpStream; 2]>) {
        let listener = self.near.net().tcp_listen("10.0.0.1:80").await.expect("a free port");
        let mut all = Vec::new();
        for _ in 0..count {
            let far = self.far.net().tcp_connect("10.0.0.1:80").await.expect("a listener");
            all.push([listener.accept().await.expect("a connection").0, far]);
        }
        (listener, all)
    }
}

fn connect(path: &Path) -> Client {
    Client::connect(path).expect("a control socket")
}

/// The whole answer.
fn ask(client: &mut Client, command: &Command) -> io::Result<Vec<Answer>> {
    client.ask(command)?.collect()
}

fn stack(client: &mut Client) -> StackInfo {
    match client.ask_one(&Command::Stack {}).expect("an answer") {
        Some(Answer::Stack(info)) => info,
        other => panic!("{other:?}"),
    }
}
