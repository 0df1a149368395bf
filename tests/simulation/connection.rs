//! The two sides of a connection.

use crate::plan::{Connection, Manner};
use netstack::Net;
use netstack::netsocket::TcpStream;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

/// Runs the client. Returns the stream, unless the plan is to drop it.
pub(crate) async fn call(net: Net, plan: Connection) -> Option<TcpStream> {
    sleep(plan.begin).await;
    let (v4, v6) = (["10.0.0.2:80", "10.0.0.1:80"], ["[fd00::2]:80", "[fd00::1]:80"]);
    let to = if plan.is_v6 { v6 } else { v4 }[plan.from];
    let stream = net.tcp_connect(to).await;
    let mut stream = stream.unwrap_or_else(|error| panic!("connecting: {error}; {plan}"));
    stream.set_congestion_control(Some(plan.control)).expect("it runs");
    let (mut from, mut to) = stream.split();
    let pace = |part| Pace::new(&plan, part);
    let ended = match plan.manner {
        Manner::Both => {
            let sending = pace(0).send(&mut to, &plan.up);
            tokio::try_join!(sending, pace(1).receive(&mut from, &plan.down)).map(|_| ())
        }
        Manner::Answer => {
            async {
                pace(0).send(&mut to, &plan.up).await?;
                pace(1).receive(&mut from, &plan.down).await
            }
            .await
        }
        Manner::Greeting => {
            async {
                let (number, rest) = plan.up.split_at(4);
                to.write_all(number).await?;
                pace(1).receive(&mut from, &plan.down).await?;
                pace(0).send(&mut to, rest).await
            }
            .await
        }
        Manner::Drop { after } => {
            let sending = async {
                // Unsent bytes are never sent once the other side is done.
                pace(0).send(&mut to, &plan.up).await?;
                std::future::pending::<io::Result<()>>().await
            };
            tokio::select! {
                ended = sending => ended,
                ended = pace(1).receive_some(&mut from, &plan.down[..after]) => ended,
            }
            .unwrap_or_else(|error| panic!("the client: {error}; {plan}"));
            return None;
        }
    };
    ended.unwrap_or_else(|error| panic!("the client: {error}; {plan}"));
    Some(stream)
}

/// Runs the server, for the connection whose number the client sends; `None` if it ends before
/// that.
pub(crate) async fn serve(stream: &mut TcpStream, plans: &[Connection]) -> Option<u32> {
    let number = stream.read_u32().await.ok()?;
    let plan = &plans[number as usize];
    let (mut from, mut to) = stream.split();
    let rest = &plan.up[4..];
    let pace = |part| Pace::new(plan, part);
    let ended = match plan.manner {
        Manner::Both | Manner::Drop { .. } => {
            let sending = pace(2).send(&mut to, &plan.down);
            tokio::try_join!(sending, pace(3).receive(&mut from, rest)).map(|_| ())
        }
        Manner::Answer => {
            async {
                pace(3).receive(&mut from, rest).await?;
                pace(2).send(&mut to, &plan.down).await
            }
            .await
        }
        Manner::Greeting => {
            async {
                pace(2).send(&mut to, &plan.down).await?;
                pace(3).receive(&mut from, rest).await
            }
            .await
        }
    };
    match ended {
        Ok(()) => {}
        // The client was aborted in the middle, and its data with it.
        Err(error) if matches!(plan.manner, Manner::Drop { .. }) => {
            let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, CUT_OFF];
            assert!(kinds.contains(&error.kind()), "the server: {error}; {plan}");
        }
        Err(error) => panic!("the server: {error}; {plan}"),
    }
    Some(number)
}

/// What [`Pace::receive`] returns for a stream that ends too early.
const CUT_OFF: ErrorKind = ErrorKind::UnexpectedEof;

/// In what pieces, and with what pauses, an end sends or receives.
struct Pace<'a> {
    plan: &'a Connection,
    random: StdRng,
}

impl<'a> Pace<'a> {
    fn new(plan: &'a Connection, part: u64) -> Self {
        Self { plan, random: StdRng::seed_from_u64(plan.seed ^ part) }
    }

    /// How large the next chunk is, after a pause.
    async fn next(&mut self) -> usize {
        if self.random.random_bool(0.1) {
            sleep(self.random.random_range(Default::default()..=self.plan.pause_max)).await;
        }
        self.random.random_range(1..=self.plan.chunk_max)
    }

    /// Sends everything and shuts down.
    async fn send(mut self, to: &mut (impl AsyncWrite + Unpin), mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (chunk, rest) = data.split_at(self.next().await.min(data.len()));
            to.write_all(chunk).await?;
            data = rest;
        }
        to.shutdown().await
    }

    /// Receives the expected bytes, and then the end.
    async fn receive(
        mut self,
        from: &mut (impl AsyncRead + Unpin),
        expected: &[u8],
    ) -> io::Result<()> {
        self.take(from, expected).await?;
        let more = from.read(&mut [0]).await?;
        assert_eq!(more, 0, "more than was sent; {}", self.plan);
        Ok(())
    }

    /// Receives the expected bytes, and ignores the rest.
    async fn receive_some(
        mut self,
        from: &mut (impl AsyncRead + Unpin),
        expected: &[u8],
    ) -> io::Result<()> {
        self.take(from, expected).await
    }

    async fn take(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        mut expected: &[u8],
    ) -> io::Result<()> {
        let mut buffer = vec![0; self.plan.chunk_max];
        while !expected.is_empty() {
            let most = self.next().await.min(expected.len());
            let count = from.read(&mut buffer[..most]).await?;
            if count == 0 {
                return Err(CUT_OFF.into());
            }
            assert!(buffer[..count] == expected[..count], "other bytes than sent; {}", self.plan);
            expected = &expected[count..];
        }
        Ok(())
    }
}
