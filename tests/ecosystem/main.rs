//! Popular networking crates on two joined stacks. Those on tokio run in virtual time where they
//! can.

mod axum_and_hyper;
mod copy;
mod futures_io;
mod quic;
mod rustls;
mod tokio_util;
mod traits;
mod ureq;
mod websocket;

use netstack::netsocket::TcpStream;
use netstack::{Pair, Stack};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The far stack, over both families.
const FAR: [&str; 2] = ["10.0.0.2", "[fd00::2]"];

/// Two stacks joined by packets as they are on a wire.
fn pair() -> (Stack, Stack) {
    Pair::new().jumbo(false).spawn().expect("a runtime")
}

/// A connection from `near` to `host`, which is `far`.
async fn connect(near: &Stack, far: &Stack, host: &str) -> (TcpStream, TcpStream) {
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let target = format!("{host}:80");
    let (client, accepted) = tokio::join!(near.net().tcp_connect(target), listener.accept());
    (client.expect("a listener"), accepted.expect("a client").0)
}

/// A certificate of its own for the name `far`, and its key.
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["far".into()]).expect("a name");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    (made.cert.der().clone(), key)
}
