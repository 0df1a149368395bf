//! Captures with comments: what they say of each retransmission, and what tshark does.

use crate::namespace::{Outcome, program};
use crate::programs::output;
use netstack::capture::{Filter, Recorder};
use netstack::netsocket::netcore::tcp::RetransmitRule;
use netstack::sim::{self, Host, LinkConfig};
use netstack::{Config, CongestionControl, TcpConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BYTES: usize = 2_000_000;
const SEEDS: u64 = 2;
const DELAY: Duration = Duration::from_millis(10);
const BITS_PER_SECOND: u64 = 50_000_000;
/// What tshark calls a segment that was sent before: it does not know by which rule it was, and takes
/// one that follows its acknowledgements closely for late.
const REPEATED: &str = "tcp.analysis.retransmission || tcp.analysis.fast_retransmission || \
                        tcp.analysis.spurious_retransmission || tcp.analysis.out_of_order";
const OUTBOUND: &str = "frame.packet_flags_direction == 2";

/// Over a link that loses 1 %, each segment that was sent again names its rule, and tshark finds
/// exactly these.
pub(crate) fn retransmissions() -> Outcome {
    program("tshark")?;
    let mut rules = BTreeMap::<String, usize>::new();
    for control in [CongestionControl::Cubic, CongestionControl::Reno, CongestionControl::Bbr] {
        for seed in 1..=SEEDS {
            let file = tempfile::NamedTempFile::new()?;
            upload(seed, control, file.path())?;
            let (ours, theirs) = (commented(file.path())?, found(file.path())?);
            let frames: BTreeSet<_> = ours.keys().copied().collect();
            if frames != theirs {
                let name = control.name();
                let (more, less) = (&frames - &theirs, &theirs - &frames);
                let message = format!("{name}, seed {seed}: only ours {more:?}, not ours {less:?}");
                return Err(message.into());
            }
            for rule in ours.into_values() {
                *rules.entry(rule).or_default() += 1;
            }
        }
    }
    let names = RetransmitRule::ALL.map(RetransmitRule::name);
    eprintln!("{rules:?}");
    let unknown: Vec<_> = rules.keys().filter(|rule| !names.contains(&rule.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(rules.len() >= 3 && rules.values().sum::<usize>() > 50, "{rules:?}");
    Ok(())
}

fn upload(seed: u64, control: CongestionControl, path: &Path) -> io::Result<()> {
    let recorder = Recorder::new(std::fs::File::create(path)?);
    sim::run(seed, |sim| async move {
        let tcp = TcpConfig { congestion_control: control, ..TcpConfig::default() };
        let link = LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND).loss(0.01);
        let client = sim.host().config(Config { tcp, ..Config::default() }).link(link).spawn()?;
        let server = sim.host().spawn()?;
        let capture = client.capture(&recorder, Filter::all());
        exchange(&client, &server).await?;
        capture.stop();
        io::Result::Ok(())
    })
}

async fn exchange(client: &Host, server: &Host) -> io::Result<()> {
    let listener = server.net().tcp_listen("10.0.0.2:80").await?;
    let receive = async {
        let (mut stream, _) = listener.accept().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let send = async {
        let mut stream = client.net().tcp_connect("10.0.0.2:80").await?;
        stream.write_all(&vec![7; BYTES]).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    tokio::try_join!(receive, send).map(drop)
}

/// The frames with retransmissions, and their rules, by the comments.
fn commented(
    path: &Path,
) -> Result<BTreeMap<u64, String>, Box<dyn std::error::Error + Send + Sync>> {
    let lines = tshark(path, "frame.comment contains \"repeated by\"")?;
    let rule = |line: &str| {
        let (frame, comment) = line.split_once('\t')?;
        let rule = comment.split_once("repeated by ")?.1.split_once(':')?.0;
        Some((frame.parse().ok()?, rule.to_owned()))
    };
    lines.lines().map(|line| rule(line).ok_or_else(|| line.into())).collect()
}

/// The frames with retransmissions, by tshark's analysis.
fn found(path: &Path) -> Result<BTreeSet<u64>, Box<dyn std::error::Error + Send + Sync>> {
    let lines = tshark(path, &format!("{OUTBOUND} && ({REPEATED})"))?;
    let frame = |line: &str| line.split('\t').next().unwrap_or(line).parse();
    Ok(lines.lines().map(frame).collect::<Result<_, _>>()?)
}

fn tshark(path: &Path, filter: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut tshark = program("tshark")?;
    tshark.arg("-r").arg(path).args(["-Y", filter, "-d", "tcp.port==1-65535,data"]);
    output(tshark.args(["-T", "fields", "-e", "frame.number", "-e", "frame.comment"]))
}
