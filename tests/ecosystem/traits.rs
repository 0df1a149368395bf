//! Bounds that crates require of a socket.

use netstack::netsocket::{
    Net, OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, UdpSocket, blocking, dns, hyper,
    quinn, ureq,
};
use std::fmt::Debug;
use std::io::{Read, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Goes to another thread, into a `Pin`, a log and a `catch_unwind`, as the kernel's sockets do.
trait Handle: Send + Sync + Unpin + Debug + UnwindSafe + RefUnwindSafe + 'static {}

impl<T: Send + Sync + Unpin + Debug + UnwindSafe + RefUnwindSafe + 'static> Handle for T {}

const fn is_handle<T: Handle>() {}
const fn is_blocking<T: Read + Write>() {}
const fn is_tokios<T: tokio::io::AsyncRead + tokio::io::AsyncWrite>() {}
const fn is_futures_ios<T: futures::AsyncRead + futures::AsyncWrite>() {}
const fn is_hypers<T: ::hyper::rt::Read + ::hyper::rt::Write>() {}
const fn converts<A: From<B>, B: From<A>>() {}

// That it compiles is the test.
const _: () = {
    is_handle::<TcpStream>();
    is_handle::<TcpListener>();
    is_handle::<UdpSocket>();
    is_handle::<OwnedReadHalf>();
    is_handle::<OwnedWriteHalf>();
    is_handle::<Net>();
    is_handle::<blocking::TcpStream>();
    is_handle::<blocking::TcpListener>();
    is_handle::<blocking::UdpSocket>();
    is_handle::<blocking::Net>();
    is_handle::<hyper::Connector>();
    is_handle::<quinn::QuicSocket>();
    is_handle::<ureq::Connector>();
    is_handle::<ureq::Resolver>();
    is_handle::<dns::Resolver>();
    is_handle::<blocking::Resolver>();

    is_tokios::<TcpStream>();
    is_futures_ios::<TcpStream>();
    is_hypers::<TcpStream>();
    is_blocking::<blocking::TcpStream>();
    is_blocking::<&blocking::TcpStream>();

    converts::<TcpStream, blocking::TcpStream>();
    converts::<TcpListener, blocking::TcpListener>();
    converts::<UdpSocket, blocking::UdpSocket>();
    converts::<Net, blocking::Net>();
    converts::<dns::Resolver, blocking::Resolver>();
};
