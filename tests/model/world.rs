//! Two stacks, their sockets, and the operations on them.

use crate::connection::{CLIENT, Connection, End, Operation, SERVER};
use crate::datagrams::{Socket, datagram, random_len};
use crate::plan::{Pause, Plan, must};
use crate::waiting::{Outcome, PendingCall, Waiting};
use bytes::Bytes;

use netstack::netsocket::netcore::{Config, Entropy, TcpConfig, tcp};
use netstack::netsocket::{Net, TcpListener, TcpStream};
use netstack::{Pair, Stack};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::cell::Cell;
use std::collections::HashSet;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The server's address.
const SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 80);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// An unused address.
const NOBODY: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 99), 9);
/// More connections are not made, so that each sees much.
const CONNECTIONS_MAX: usize = 10;
const WAITING_MAX: usize = 16;
const SOCKETS_MAX: usize = 3;
const OPERATIONS_MAX: u64 = 5000;

struct World {
    random: StdRng,
    near: Net,
    far: Net,
    listener: Option<Rc<TcpListener>>,
    connections: Vec<Connection>,
    /// Attempts to connect that were dropped. A listener may have seen them all the same.
    given_up: HashSet<SocketAddr>,
    /// Attempts to connect that may meet a closed port.
    may_be_refused: HashSet<SocketAddr>,
    waiting: Vec<Waiting>,
    near_sockets: Vec<Socket>,
    far_sockets: Vec<Socket>,
    next_port: u16,
    next_number: u64,
    is_stopped: bool,
}

/// From two new stacks to their end. Returns the generator, for the next one.
pub(crate) async fn live(mut random: StdRng, operations: u64, done: &Cell<u64>) -> StdRng {
    let (near, far) = stacks(&mut random);
    let mut world = World {
        near: near.net().clone(),
        far: far.net().clone(),
        listener: None,
        connections: Vec::new(),
        given_up: HashSet::new(),
        may_be_refused: HashSet::new(),
        waiting: Vec::new(),
        near_sockets: Vec::new(),
        far_sockets: Vec::new(),
        next_port: 1024,
        next_number: 0,
        is_stopped: false,
        random,
    };
    for _ in 0..world.random.random_range(OPERATIONS_MAX / 10..OPERATIONS_MAX).min(operations) {
        world.step().await;
        done.set(done.get() + 1);
    }
    match world.random.random_range(0..4) {
        0 => {
            drop(near);
            let stopped = tokio::time::sleep(Duration::from_millis(1));
            world.outlive(stopped, done).await;
        }
        1 => {
            let deadline = Duration::from_millis(world.random.random_range(0..2000));
            let stopped = tokio::spawn(near.shutdown(deadline));
            world.outlive(stopped, done).await;
        }
        _ => {
            world.end().await;
            all_is_gone([&near, &far]).await;
        }
    }
    drop(far);
    world.random
}

fn stacks(random: &mut StdRng) -> (Stack, Stack) {
    let config = Config {
        commands_max: *[1, 1024].choose(random).expect("not empty"),
        entropy: Entropy::Seed(random.next_u64()),
        tcp: TcpConfig {
            stream_queue_bytes: *[4096, 64 * 1024].choose(random).expect("not empty"),
            recv_buffer_bytes: *[8192, 128 * 1024].choose(random).expect("not empty"),
            recv_buffer_bytes_max: *[8192, 128 * 1024].choose(random).expect("not empty"),
            send_buffer_bytes: *[8192, 128 * 1024].choose(random).expect("not empty"),
            send_buffer_bytes_max: *[8192, 128 * 1024].choose(random).expect("not empty"),
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mtu = *[1280, 1500, 9000].choose(random).expect("not empty");
    Pair::new().config(config).mtu(mtu).jumbo(random.random()).spawn().expect("a runtime")
}

impl World {
    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.operate().await,
            45..49 => self.connect().await,
            49..51 => self.wait_to_connect(),
            51..55 => self.accept().await,
            55..57 => self.wait_to_accept(),
            57..64 => self.wait_at_a_stream(),
            64..76 => self.poll_one_pending(),
            76..78 => self.give_one_up(),
            78..88 => self.exchange_datagrams().await,
            88..90 => self.read_the_rest().await,
            90 => self.replace_listener().await,
            91 => self.look_at_the_sockets().await,
            _ => Pause::random(&mut self.random).pass().await,
        }
        self.connections.retain(|connection| !connection.is_over());
    }

    /// Does something at one end of a connection.
    async fn operate(&mut self) {
        let Some((index, side)) = self.random_end() else { return };
        let address = self.connections[index].address;
        if self.has_waiting(address, side) && self.random.random_bool(0.7) {
            return;
        }
        let operation = random_operation(&mut self.random);
        let plan = Plan::random(&mut self.random);
        self.waiting.retain(|waiting| !is_at(waiting, address, side));
        self.connections[index].operate(side, operation, plan).await;
    }

    async fn connect(&mut self) {
        let Some(address) = self.new_connection() else { return };
        let plan = Plan::random(&mut self.random);
        match plan.run(connecting(self.near.clone(), address)).await {
            Some(result) => self.connected(address, result),
            None => self.gave_up_connecting(address),
        }
    }

    fn wait_to_connect(&mut self) {
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        let Some(address) = self.new_connection() else { return };
        let net = self.near.clone();
        self.waiting.push(Waiting::new(PendingCall::Connecting(address), async move {
            Outcome::Connected(connecting(net, address).await)
        }));
    }

    /// The model of a connection that is about to be made.
    fn new_connection(&mut self) -> Option<SocketAddr> {
        let is_heard = |connection: &&Connection| !connection.may_be_unheard;
        let heard = self.connections.iter().filter(is_heard).count();
        if heard >= CONNECTIONS_MAX || self.next_port >= 49_152 {
            return None;
        }
        let address = SocketAddr::from((CLIENT_IP, self.next_port));
        self.next_port += 1;
        if self.listener.is_none() {
            self.may_be_refused.insert(address);
        }
        let mut connection = Connection::new(self.next_number, address);
        if self.is_stopped {
            connection.stop();
        }
        self.connections.push(connection);
        self.next_number += 1;
        Some(address)
    }

    fn connected(&mut self, address: SocketAddr, result: Result<TcpStream>) {
        let may_fail = self.may_be_refused.remove(&address) || self.is_stopped;
        match result {
            Ok(stream) => {
                assert_eq!(stream.local_addr().expect("never fails"), address);
                self.connection(address).ends[CLIENT] = End::Whole(Rc::new(stream));
            }
            Err(error) => {
                assert!(may_fail, "connecting failed with {error}");
                self.gave_up_connecting(address);
            }
        }
    }

    fn gave_up_connecting(&mut self, address: SocketAddr) {
        self.may_be_refused.remove(&address);
        let connection = self.connection(address);
        connection.may_fail = true;
        connection.left(CLIENT);
        if matches!(connection.ends[SERVER], End::Awaited) {
            self.given_up.insert(address);
            self.connections.retain(|connection| connection.address != address);
        }
    }

    async fn accept(&mut self) {
        let Some(listener) = self.listener.clone() else { return };
        let plan = Plan::random(&mut self.random);
        if let Some(accepted) = plan.run(listener.accept()).await {
            self.accepted(accepted);
        }
    }

    fn wait_to_accept(&mut self) {
        let Some(listener) = self.listener.clone() else { return };
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(Waiting::new(PendingCall::Accepting, async move {
                Outcome::Accepted(listener.accept().await)
            }));
        }
    }

    /// Each connection is accepted once.
    fn accepted(&mut self, result: Result<(TcpStream, SocketAddr)>) {
        let (stream, address) = match result {
            Ok(accepted) => accepted,
            Err(error) => {
                assert!(self.is_stopped, "accepting failed with {error}");
                return;
            }
        };
        if self.given_up.remove(&address) {
            // Nothing was written to it.
            let mut connection = Connection::new(self.next_number, address);
            self.next_number += 1;
            connection.may_fail = true;
            connection.left(CLIENT);
            self.connections.push(connection);
        }
        let end = &mut self.connection(address).ends[SERVER];
        assert!(matches!(end, End::Awaited), "{address} was accepted before");
        *end = End::Whole(Rc::new(stream));
    }

    /// Begins to wait for something at a stream that others may wait for too.
    fn wait_at_a_stream(&mut self) {
        let Some((index, side)) = self.random_end() else { return };
        let connection = &self.connections[index];
        let address = connection.address;
        let End::Whole(stream) = &connection.ends[side] else { return };
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        let stream = stream.clone();
        let len = self.random.random_range(1..5000);
        let reading = PendingCall::Reading(address, side);
        let writing = PendingCall::Writing(address, side);
        self.waiting.push(match self.random.random_range(0..5) {
            0 => Waiting::new(reading, async move {
                let mut buffer = vec![0; len];
                let peeked = stream.peek(&mut buffer).await;
                Outcome::Peeked(peeked.map(|n| Bytes::copy_from_slice(&buffer[..n])), len)
            }),
            1 => Waiting::new(reading, async move {
                // The data may have been read by another task first.
                stream.readable().await.expect("never fails");
                Outcome::Ready
            }),
            2 => Waiting::new(writing, async move {
                stream.writable().await.expect("never fails");
                Outcome::Ready
            }),
            // One writer at a time: the model must know the order of bytes.
            3 if !self.waiting.iter().any(|waiting| waiting.at == writing) => {
                let mut data = Bytes::from_static(connection.next_piece(side, len));
                Waiting::new(writing, async move {
                    Outcome::Wrote(stream.write_bytes(&mut data).await, len)
                })
            }
            _ => Waiting::new(
                reading,
                async move { Outcome::Read(stream.recv_bytes(len).await, len) },
            ),
        });
    }

    fn poll_one_pending(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.waiting.len());
        if let Some(outcome) = self.waiting[index].look() {
            let call = self.waiting.swap_remove(index).at;
            self.note_outcome(call, outcome);
        }
    }

    fn note_outcome(&mut self, call: PendingCall, outcome: Outcome) {
        match (call, outcome) {
            (PendingCall::Connecting(address), Outcome::Connected(result)) => {
                self.connected(address, result);
            }
            (PendingCall::Accepting, Outcome::Accepted(result)) => self.accepted(result),
            (PendingCall::Reading(address, side), Outcome::Read(result, room)) => {
                let result = result.as_deref().map_err(|error| error.kind().into());
                self.connection(address).read(side, result, room);
            }
            (PendingCall::Reading(address, side), Outcome::Peeked(result, room)) => {
                let result = result.as_deref().map_err(|error| error.kind().into());
                self.connection(address).peeked(side, result, room);
            }
            (PendingCall::Writing(address, side), Outcome::Wrote(result, len)) => {
                self.connection(address).wrote(side, Some(result), len);
            }
            (PendingCall::Receiving(address), Outcome::Received(result)) => {
                let mut sockets = self.near_sockets.iter_mut().chain(&mut self.far_sockets);
                let socket = sockets.find(|socket| socket.address == address);
                let socket = socket.expect("it is dropped after its pending calls");
                let result = result.as_ref().map_err(|error| error.kind().into());
                socket.received(result.map(|(bytes, from)| (&bytes[..], *from)), usize::MAX);
            }
            (_, Outcome::Ready) => {}
            _ => unreachable!("each call has its outcome"),
        }
    }

    /// Drops a future that is not ready.
    fn give_one_up(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.waiting.len());
        let call = self.waiting.swap_remove(index).at;
        if let PendingCall::Connecting(address) = call {
            self.gave_up_connecting(address);
        }
    }

    async fn exchange_datagrams(&mut self) {
        let is_near = self.random.random();
        let (net, ip) = if is_near { (&self.near, CLIENT_IP) } else { (&self.far, SERVICE.0) };
        let (net, plan) = (net.clone(), Plan::random(&mut self.random));
        let (here, there) = match is_near {
            true => (&mut self.near_sockets, &mut self.far_sockets),
            false => (&mut self.far_sockets, &mut self.near_sockets),
        };
        let choice = self.random.random_range(0..12);
        if here.len() < SOCKETS_MAX && choice < 2 {
            match plan.run(net.udp_bind((ip, 0))).await {
                Some(Ok(socket)) => here.push(Socket::new(socket, self.is_stopped)),
                Some(Err(error)) => assert!(self.is_stopped, "binding failed with {error}"),
                None => {}
            }
            return;
        }
        if here.is_empty() || there.is_empty() {
            return;
        }
        let index = self.random.random_range(0..here.len());
        let address = here[index].address;
        let room = *[0, 20, 65_536].choose(&mut self.random).expect("not empty");
        match choice {
            0..6 => {
                let to = self.random.random_range(0..there.len());
                let to = &mut there[to];
                let len = random_len(&mut self.random);
                let is_for_nobody = self.random.random_bool(0.1);
                if !is_for_nobody && !to.has_room(len) {
                    return;
                }
                let number = self.next_number;
                self.next_number += 1;
                let target = if is_for_nobody { SocketAddr::from(NOBODY) } else { to.address };
                let data = datagram(number, len);
                match plan.run(here[index].socket.send_to(&data, target)).await {
                    Some(Ok(sent)) => {
                        assert_eq!(sent, len);
                        if !is_for_nobody {
                            to.sent(address, number, len);
                        }
                    }
                    Some(Err(error)) => assert!(self.is_stopped, "sending failed with {error}"),
                    None => {}
                }
            }
            6..8 => here[index].receive(room, plan).await,
            8 => here[index].peek(room, plan).await,
            9 if self.waiting.len() < WAITING_MAX => {
                let socket = here[index].socket.clone();
                self.waiting.push(Waiting::new(PendingCall::Receiving(address), async move {
                    Outcome::Received(socket.recv_bytes_from().await)
                }));
            }
            10 if here[index].expects_something() && !self.is_stopped => {
                must("a datagram", here[index].socket.readable()).await.expect("never fails");
            }
            _ if self.random.random_bool(0.1) => {
                self.waiting.retain(|waiting| waiting.at != PendingCall::Receiving(address));
                here.swap_remove(index);
            }
            _ => {}
        }
    }

    async fn read_the_rest(&mut self) {
        let Some((index, side)) = self.random_end() else { return };
        let address = self.connections[index].address;
        if self.connections[index].must_read(side) {
            self.waiting.retain(|waiting| !is_at(waiting, address, side));
            self.connections[index].read_on(side).await;
        }
    }

    /// Closes the listener and, not always, opens another at the same port.
    async fn replace_listener(&mut self) {
        if self.listener.is_some() && self.random.random_bool(0.7) {
            return;
        }
        self.close_listener();
        if self.random.random_bool(0.8) {
            match self.far.tcp_listen(SERVICE).await {
                Ok(listener) => self.listener = Some(Rc::new(listener)),
                Err(error) => assert!(self.is_stopped, "listening failed with {error}"),
            }
        }
    }

    /// Unaccepted connections are reset.
    fn close_listener(&mut self) {
        self.waiting.retain(|waiting| waiting.at != PendingCall::Accepting);
        if self.listener.take().is_none() {
            return;
        }
        self.given_up.clear();
        for connection in &mut self.connections {
            if matches!(connection.ends[SERVER], End::Awaited) {
                connection.may_fail = true;
                match connection.ends[CLIENT] {
                    // It may still come to the next listener.
                    End::Awaited => {
                        connection.may_be_unheard = true;
                        self.may_be_refused.insert(connection.address);
                    }
                    _ => connection.left(SERVER),
                }
            }
        }
    }

    async fn look_at_the_sockets(&mut self) {
        let plan = Plan::random(&mut self.random);
        if let Some(Err(error)) = plan.run(self.near.snapshot()).await {
            assert!(self.is_stopped, "a snapshot failed with {error}");
        }
    }

    /// Closes everything: all data sent is received.
    async fn end(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if let PendingCall::Connecting(address) = waiting.at {
                drop(waiting);
                self.gave_up_connecting(address);
            }
        }
        while let Some(listener) = self.listener.clone()
            && self.connections.iter().any(Connection::must_be_accepted)
        {
            let accepted = must("a connection to accept", listener.accept()).await;
            self.accepted(accepted);
        }
        // Connections not accepted now are left to the listener's end.
        self.close_listener();
        for connection in &mut self.connections {
            for side in [CLIENT, SERVER] {
                let plan = Plan::random(&mut self.random);
                connection.operate(side, Operation::TurnAsync, plan).await;
                connection.operate(side, Operation::Shutdown, Plan::PATIENT).await;
            }
        }
        for connection in &mut self.connections {
            for side in [CLIENT, SERVER] {
                while connection.read_on(side).await {}
            }
        }
        for socket in self.near_sockets.iter_mut().chain(&mut self.far_sockets) {
            while socket.expects_something() {
                must("a datagram", socket.socket.readable()).await.expect("never fails");
                socket.receive(65_536, Plan::PATIENT).await;
            }
        }
        self.drop_all();
    }

    /// Continues with stopping stacks: every pending call must end, without made-up data.
    async fn outlive(&mut self, stopped: impl Future, done: &Cell<u64>) {
        self.is_stopped = true;
        self.connections.iter_mut().for_each(Connection::stop);
        self.near_sockets.iter_mut().chain(&mut self.far_sockets).for_each(Socket::stop);
        for _ in 0..self.random.random_range(0..200) {
            self.step().await;
            done.set(done.get() + 1);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let call = waiting.at;
            let outcome = must("the end of a wait", waiting.finish()).await;
            self.note_outcome(call, outcome);
        }
        for connection in &mut self.connections {
            connection.stop();
            for side in [CLIENT, SERVER] {
                while connection.read_on(side).await {}
            }
        }
        must("the end of the stack", stopped).await;
        let gone = must("an answer", self.near.snapshot()).await;
        assert!(gone.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe));
        self.drop_all();
    }

    fn drop_all(&mut self) {
        self.close_listener();
        self.connections.clear();
        self.near_sockets.clear();
        self.far_sockets.clear();
    }

    fn random_end(&mut self) -> Option<(usize, usize)> {
        if self.connections.is_empty() {
            return None;
        }
        let index = self.random.random_range(0..self.connections.len());
        Some((index, *[CLIENT, SERVER].choose(&mut self.random).expect("not empty")))
    }

    fn connection(&mut self, address: SocketAddr) -> &mut Connection {
        let mut connections = self.connections.iter_mut();
        let connection = connections.find(|connection| connection.address == address);
        connection.unwrap_or_else(|| panic!("a connection from {address}, which there is none"))
    }

    fn has_waiting(&self, address: SocketAddr, side: usize) -> bool {
        self.waiting.iter().any(|waiting| is_at(waiting, address, side))
    }
}

fn is_at(waiting: &Waiting, address: SocketAddr, side: usize) -> bool {
    waiting.at == PendingCall::Reading(address, side)
        || waiting.at == PendingCall::Writing(address, side)
}

async fn connecting(net: Net, from: SocketAddr) -> Result<TcpStream> {
    net.tcp_connect_from(from, SERVICE.into(), tcp::Options::default()).await
}

fn random_operation(random: &mut StdRng) -> Operation {
    let len = match random.random_range(0..20) {
        0 => 0,
        1 => random.random_range(1..100_000),
        2..8 => random.random_range(1..5000),
        _ => random.random_range(1..200),
    };
    match random.random_range(0..1000) {
        0..220 => Operation::Read(len),
        220..270 => Operation::TryRead(len),
        270..310 => Operation::Peek(len),
        310..400 => Operation::ReceiveBytes(len),
        400..430 => Operation::Readable,
        430..600 => Operation::Write(len),
        600..650 => Operation::TryWrite(len),
        650..720 => Operation::WriteBytes(len),
        720..740 => Operation::Writable,
        740..750 => Operation::Flush,
        750..830 => Operation::Both(len),
        830..840 => Operation::Shutdown,
        840..870 => Operation::Split,
        870..910 => Operation::Reunite,
        910..914 => Operation::DropReadHalf,
        914..918 => Operation::DropWriteHalf,
        918..940 => Operation::TurnBlocking,
        940..975 => Operation::TurnAsync,
        975..978 => Operation::ShutdownRead,
        978..990 => Operation::Drop,
        _ => Operation::Readable,
    }
}

/// Waits until both socket tables are empty, and the buffers given back.
async fn all_is_gone(stacks: [&Stack; 2]) {
    for stack in stacks {
        // Longer than any state that a connection can be left in.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1000);
        loop {
            let snapshot = stack.net().snapshot().await.expect("a running stack");
            assert_eq!(snapshot.counters.panics_caught, 0);
            let is_empty = snapshot.sockets.is_empty() && snapshot.time_wait.is_empty();
            if is_empty && snapshot.buffer_bytes == 0 && snapshot.timers == 0 {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "left behind:\n{snapshot}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
