//! The random plan of a seed.

use crate::path::Path;
use netstack::sim::LinkConfig;
use netstack::{Config, CongestionControl, TcpConfig};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::fmt;
use std::time::Duration;

/// The link, the stacks, and the connections.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) path: Path,
    pub(crate) mtu: usize,
    /// When the link goes down, and for how long.
    pub(crate) outage: Option<(Duration, Duration)>,
    pub(crate) config: Config,
    pub(crate) connections: Vec<Connection>,
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) number: u32,
    /// Which host connects.
    pub(crate) from: usize,
    pub(crate) is_v6: bool,
    /// When.
    pub(crate) begin: Duration,
    pub(crate) manner: Manner,
    /// The client's data: first the number.
    pub(crate) up: Vec<u8>,
    /// The server's data.
    pub(crate) down: Vec<u8>,
    /// The most that is written or read at once, in bytes.
    pub(crate) chunk_max: usize,
    /// The longest pause between two chunks.
    pub(crate) pause_max: Duration,
    /// The client's; the server has that of the configuration.
    pub(crate) control: CongestionControl,
    /// For random choices during the run.
    pub(crate) seed: u64,
}

/// The order of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Both at once.
    Both,
    /// The server answers once the client has sent all and shut down.
    Answer,
    /// The client sends its number, and the rest once the server has shut down.
    Greeting,
    /// Both at once, until the client has received this many bytes and drops its handle.
    Drop { after: usize },
}

/// An hour is more than enough for retransmissions once a minute.
const HOUR: Duration = Duration::from_secs(3600);

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mtu = match random.random_range(0..3) {
            0 => random.random_range(576..1280),
            1 => random.random_range(1280..1500),
            _ => 1500,
        };
        let link = link(&mut random).mtu(mtu);
        let mut path = Path::new(&link, mtu, seed);
        let outage = random.random_bool(0.2).then(|| {
            let [at, lasts] = [5_000, 20_000].map(|most| random.random_range(0..most));
            (Duration::from_millis(at), Duration::from_millis(lasts))
        });
        let mut buffer = || 1 << random.random_range(12..20);
        let config = Config {
            tcp: TcpConfig {
                recv_buffer_bytes: buffer(),
                recv_buffer_bytes_max: buffer(),
                send_buffer_bytes: buffer(),
                send_buffer_bytes_max: buffer(),
                stream_queue_bytes: buffer(),
                connect_timeout: HOUR,
                handshake_timeout: Duration::from_secs(600),
                retransmit_timeout: 24 * HOUR,
                congestion_control: path.control(),
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let count = random.random_range(1..=6);
        let connections = (0..count).map(|number| {
            let plain = Connection::new(number, mtu, &mut random);
            plain.with_path(&mut path)
        });
        let connections = connections.collect();
        Self { path, mtu, outage, config, connections }
    }
}

fn link(random: &mut StdRng) -> LinkConfig {
    // Each impairment is there or not, so that each is met alone too.
    let mut up_to = |most: f64| {
        if random.random_bool(0.5) { random.random_range(0.0..=most) } else { 0.0 }
    };
    let link = LinkConfig::new().loss(up_to(0.3)).duplicate(up_to(0.2)).reorder(up_to(0.3));
    let link = link.corrupt(up_to(0.1));
    let link = link.delay(Duration::from_millis(up_to(200.0) as u64));
    let link = link.jitter(Duration::from_millis(up_to(50.0) as u64));
    if random.random_bool(0.5) {
        return link;
    }
    let bits_per_second = 10_u64.pow(random.random_range(5..=8));
    link.bandwidth(bits_per_second).queue(random.random_range(2..=100))
}

impl Connection {
    fn new(number: u32, mtu: usize, random: &mut StdRng) -> Self {
        let most = if random.random_bool(0.1) { 100_000 } else { 10_000 };
        let mut up = number.to_be_bytes().to_vec();
        up.resize(4 + random.random_range(0..most), 0);
        random.fill_bytes(&mut up[4..]);
        let mut down = vec![0; random.random_range(0..most)];
        random.fill_bytes(&mut down);
        let manner = match random.random_range(0..8) {
            0 | 1 => Manner::Answer,
            2 | 3 => Manner::Greeting,
            4 => Manner::Drop { after: random.random_range(0..=down.len()) },
            _ => Manner::Both,
        };
        Self {
            number,
            from: random.random_range(0..2),
            is_v6: mtu >= 1280 && random.random(),
            begin: Duration::from_millis(random.random_range(0..3000)),
            manner,
            up,
            down,
            chunk_max: 1 << random.random_range(8..16),
            pause_max: Duration::from_millis(random.random_range(0..50)),
            control: CongestionControl::default(),
            seed: random.random(),
        }
    }

    /// Adds what the path determines: the congestion control, and for some much more data.
    fn with_path(mut self, path: &mut Path) -> Self {
        self.control = path.control();
        if let Some(bytes) = path.bulk_bytes() {
            let mut random = StdRng::seed_from_u64(self.seed);
            for data in [&mut self.up, &mut self.down] {
                let start = data.len();
                data.resize(bytes, 0);
                random.fill_bytes(&mut data[start..]);
            }
        }
        self
    }

    /// Whether the server must have got its number when the client is done.
    pub(crate) fn is_surely_accepted(&self) -> bool {
        !matches!(self.manner, Manner::Drop { after: 0 })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, from, is_v6, manner, up, down, control, .. } = self;
        let (up, down) = (up.len(), down.len());
        write!(
            f,
            "connection {number} from host {from}, IPv6 {is_v6}, {manner:?}, {up}/{down} bytes, {}",
            control.name(),
        )
    }
}
