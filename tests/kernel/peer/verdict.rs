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
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block? else { continue };
        // As the recorder writes it: 1 is inbound, 2 is outbound.
        let is_sent = packet.options.contains(&EnhancedPacketOption::Flags(2));
        let Some(segment) = Segment::parse(&packet.data) else { continue };
        let (source, destination) = segment.ports;
        let port = if is_sent { source } else { destination };
        connections.entry(port).or_default().see(is_sent, &segment);
    }
    Ok(connections)
}

/// What tshark finds wrong with what the stack has sent, and the port of the stack's end.
pub(super) fn tshark(path: &Path) -> Result<Vec<(u16, String)>, Box<dyn Error + Send + Sync>> {
    let mut tshark = program("tshark")?;
    tshark.arg("-r").arg(path).args(["-o", "tcp.check_checksum:TRUE"]);
    tshark.args(["-o", "ip.check_checksum:TRUE", "-Y", &filter()]);
    tshark.args(["-T", "fields", "-e", "tcp.srcport", "-e", "frame.number"]);
    let found = output(tshark.args(["-e", "_ws.expert.message"]))?;
    let found = found.lines().map(|line| {
        let (port, finding) = line.split_once('\t').ok_or(line)?;
        Ok((port.parse()?, finding.replace('\t', ": ")))
    });
    found.collect()
}

/// tshark has no name for data behind a window; a window that such data fill exactly is "full".
fn filter() -> String {
    let findings = [
        "tcp.analysis.spurious_retransmission",
        "tcp.analysis.ack_lost_segment",
        "tcp.analysis.lost_segment",
        "tcp.checksum.status == Bad",
        "ip.checksum.status == Bad",
        "_ws.malformed",
        "_ws.expert.severity == Error",
    ];
    // 2 is outbound, as above.
    format!("tcp && frame.packet_flags_direction == 2 && ({})", findings.join(" || "))
}
