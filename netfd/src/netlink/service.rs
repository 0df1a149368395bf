//! The task behind a netlink socket.

use crate::far::{Far, Sender};
use crate::netlink::failure::Failure;
use crate::netlink::message::{Request, datagrams};
use crate::netlink::name::REQUEST_BYTES_MAX;
use crate::netlink::rtnetlink::{self, Answer};
use crate::netlink::sock_diag::{self, Found};
use crate::netlink::{Protocol, Reports, Server, Socket, Subject};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP_FILTERED, NLM_F_MULTIPART, NLM_F_REQUEST};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The far end of a netlink socket's pair.
#[derive(Debug)]
pub struct NetlinkEnd {
    far: Far,
    key: u64,
}

impl NetlinkEnd {
    pub(crate) fn new(far: Far, key: u64) -> Self {
        Self { far, key }
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.key
    }
}

/// The task behind a netlink socket: answers its requests, and sends it what it listens to.
#[derive(Debug)]
pub struct Service<S> {
    server: Arc<Server<S>>,
    socket: Arc<Socket>,
    far: Far,
    notifications: mpsc::Receiver<Vec<u8>>,
}

/// Notifications that wait for a program that does not read.
const NOTIFICATIONS_MAX: usize = 4096;

impl Socket {
    /// Makes a socket and what serves it. `kind` is its type, `SOCK_RAW` or `SOCK_DGRAM`, with its
    /// protocol; the port is `wanted_port`, that of its process, unless that is 0 or another socket's.
    pub fn open<S: Subject>(
        server: &Arc<Server<S>>,
        kind: (libc::c_int, Protocol),
        reports: Reports,
        wanted_port: u32,
        end: NetlinkEnd,
    ) -> (Arc<Self>, Service<S>) {
        let (sender, notifications) = mpsc::channel(NOTIFICATIONS_MAX);
        let shared = (server.ports().clone(), server.wake().clone());
        let socket = Arc::new(Self::new(kind, reports, shared, wanted_port, sender));
        server.add(&socket);
        let service =
            Service { server: server.clone(), socket: socket.clone(), far: end.far, notifications };
        (socket, service)
    }
}

impl<S: Subject> Service<S> {
    /// Serves the socket until its descriptor is closed, and what was sent before has been done.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the descriptor reads its end.
    pub async fn run(self) {
        let Self { server, socket, far, mut notifications } = self;
        let mut sender = Sender::new(&far);
        let mut datagram = vec![0; REQUEST_BYTES_MAX];
        loop {
            let sent = tokio::select! {
                biased;
                Some(message) = notifications.recv() => {
                    let sent = send(&mut sender, &socket, &message).await;
                    match notifications.is_empty().then(|| socket.missed_message()).flatten() {
                        Some(missed) if sent.is_ok() => send(&mut sender, &socket, &missed).await,
                        _ => sent,
                    }
                }
                received = far.read_with(|| far.try_recv_packet(&mut datagram)) => match received {
                    Ok(Some(len)) => {
                        answer_all(&server, &socket, &mut sender, &datagram[..len]).await
                    }
                    Ok(None) => return,
                    Err(error) => Err(error),
                },
            };
            sender.rest();
            // The program has closed it.
            if sent.is_err() {
                break;
            }
        }
        // What it has asked for before that is done nevertheless.
        while let Ok(Some(len)) = far.try_recv_packet(&mut datagram) {
            let _ = answer_all(&server, &socket, &mut sender, &datagram[..len]).await;
        }
    }
}

async fn send(sender: &mut Sender<'_>, socket: &Socket, message: &[u8]) -> io::Result<()> {
    sender.send(&[IoSlice::new(message)]).await?;
    socket.has_arrived();
    Ok(())
}

/// Answers the requests of a datagram. All are done, also when nobody takes the answers.
async fn answer_all<S: Subject>(
    server: &Server<S>,
    socket: &Socket,
    sender: &mut Sender<'_>,
    datagram: &[u8],
) -> io::Result<()> {
    let mut sent = Ok(());
    for request in Request::all(datagram, socket.port()) {
        // Others, as acknowledgements of a program, are not for a stack.
        if !request.has(NLM_F_REQUEST) {
            continue;
        }
        if socket.protocol() == Protocol::SockDiag {
            sent = sent.and(diagnose(server, socket, sender, &request).await);
            continue;
        }
        for answer in answer(server, socket, &request).await {
            if sent.is_ok() {
                sent = send(sender, socket, &answer).await;
            }
        }
    }
    sent
}

/// The datagrams of an answer.
async fn answer<S: Subject>(
    server: &Server<S>,
    socket: &Socket,
    request: &Request<'_>,
) -> Vec<Vec<u8>> {
    let answered = rtnetlink::answer(server, request).await;
    let options = socket.ack_options();
    let end = |failure: Option<&Failure>| vec![request.end(failure, options)];
    match answered {
        Ok(Answer::Done) if request.has(NLM_F_ACK) => end(None),
        Ok(Answer::Done) => Vec::new(),
        Ok(Answer::One(message)) => {
            let mut all = vec![request.answer(&message, 0)];
            if request.has(NLM_F_ACK) {
                all.extend(end(None));
            }
            all
        }
        Ok(Answer::All(messages)) => {
            let flags = NLM_F_MULTIPART | NLM_F_DUMP_FILTERED;
            let messages = messages.iter().map(|message| request.answer(message, flags));
            datagrams(messages.chain([request.done()]))
        }
        Err(failure) => end(Some(&failure)),
    }
}

/// Answers a request about sockets. Many are read from the stack as the program takes them.
async fn diagnose<S: Subject>(
    server: &Server<S>,
    socket: &Socket,
    sender: &mut Sender<'_>,
    request: &Request<'_>,
) -> io::Result<()> {
    let mut failure = None;
    match sock_diag::answer(server, request).await {
        Ok(Found::Nothing) => {}
        Ok(Found::One(payload)) => {
            let answer = request.answer_raw(SOCK_DIAG_BY_FAMILY, 0, &payload);
            send(sender, socket, &answer).await?;
        }
        Ok(Found::All(mut dump)) => loop {
            match dump.next(server).await {
                Ok(Some(page)) => {
                    let answer =
                        |it: &Vec<u8>| request.answer_raw(SOCK_DIAG_BY_FAMILY, NLM_F_MULTIPART, it);
                    for datagram in datagrams(page.iter().map(answer)) {
                        send(sender, socket, &datagram).await?;
                    }
                }
                Ok(None) => return send(sender, socket, &request.done()).await,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        },
        Err(error) => failure = Some(error),
    }
    if failure.is_some() || request.has(NLM_F_ACK) {
        let end = request.end(failure.as_ref(), socket.ack_options());
        send(sender, socket, &end).await?;
    }
    Ok(())
}
