//! Connections that do nothing.

use netstack::Stack;
use netstack::netsocket::TcpStream;
use std::io::Result;

/// The most to one port.
const IDLE_PER_PORT: usize = 10_000;

/// Makes connections that do nothing, to more than one port: one has no more than there are ports
/// to come from.
pub(crate) async fn connect_idle(
    near: &Stack,
    far: &Stack,
    connections: usize,
) -> Result<Vec<(TcpStream, TcpStream)>> {
    let mut held = Vec::with_capacity(connections);
    let mut listener = None;
    while held.len() < connections {
        if held.len() % IDLE_PER_PORT == 0 {
            listener = Some(far.net().tcp_listen("10.0.0.2:0").await?);
        }
        let listener = listener.as_ref().expect("the first has made one");
        let port = listener.local_addr()?;
        let (client, accepted) = tokio::join!(near.net().tcp_connect(port), listener.accept());
        held.push((client?, accepted?.0));
    }
    Ok(held)
}
