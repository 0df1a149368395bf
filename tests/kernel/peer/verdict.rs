//! What a capture shows: by the rules, and by tshark.

use super::rules::Rules;
use super::segment::Segment;
use crate::namespace::program;
use crate::programs::output;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::path::Path;

/// The connections of a capture, by the port of the stack's end.
pub(super) fn connections(
    path: &Path,
) -> Result<HashMap<u16, Rules>, Box<dyn Error + Send + Sync>> {
    let mut connections: HashMap<u16, Rules> = HashMap::new();
    let mut reader = PcapNgReader::new(File::open(path)?)?;
    // As tshark counts them.
    let mut frame = 0;
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block? else { continue };
        frame += 1;
        // As the recorder writes it: 1 is inbound, 2 is outbound.
        let is_sent = packet.options.contains(&EnhancedPacketOption::Flags(2));
        let Some(segment) = Segment::parse(&packet.data) else { continue };
        let (source, destination) = segment.ports;
        let port = if is_sent { source } else { destination };
        connections.entry(port).or_default().see(is_sent, frame, &segment);
    }
    Ok(connections)
}

/// What tshark finds wrong with a segment that the stack has sent.
#[derive(Debug)]
pub(super) struct Finding {
    /// Of the stack's end.
    pub(super) port: u16,
    pub(super) frame: u64,
    pub(super) is_spurious_retransmission: bool,
    pub(super) message: String,
}

pub(super) fn tshark(path: &Path) -> Result<Vec<Finding>, Box<dyn Error + Send + Sync>> {
    let mut tshark = program("tshark")?;
    tshark.arg("-r").arg(path).args(["-o", "tcp.check_checksum:TRUE"]);
    // The bytes are noise, in which it would find other protocols.
    tshark.args(["-o", "ip.check_checksum:TRUE", "-d", "tcp.port==1-65535,data"]);
    tshark.args(["-Y", &filter(), "-T", "fields"]);
    tshark.args(["-e", "tcp.srcport", "-e", "frame.number", "-e", SPURIOUS]);
    let found = output(tshark.args(["-e", "_ws.expert.message"]))?;
    let finding = |line: &str| {
        let [port, frame, spurious, message] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(line.into());
        };
        Ok(Finding {
            port: port.parse()?,
            frame: frame.parse()?,
            is_spurious_retransmission: !spurious.is_empty(),
            message: message.to_owned(),
        })
    };
    found.lines().map(finding).collect()
}

const SPURIOUS: &str = "tcp.analysis.spurious_retransmission";

/// tshark has no name for data behind a window; a window that such data fill exactly is "full". It
/// does find gaps in what was sent, but one behind each byte that a probe of a window has taken, too.
fn filter() -> String {
    let findings = [
        SPURIOUS,
        "tcp.analysis.ack_lost_segment",
        "tcp.checksum.status == Bad",
        "ip.checksum.status == Bad",
        "_ws.malformed",
        "_ws.expert.severity == Error",
    ];
    // 2 is outbound, as above.
    format!("tcp && frame.packet_flags_direction == 2 && ({})", findings.join(" || "))
}
