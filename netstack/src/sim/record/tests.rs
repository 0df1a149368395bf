use super::*;
use crate::Direction;
use crate::sim::{self, LinkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BYTES: usize = 100_000;
/// This data segment is lost.
const LOST: usize = 20;
const HEADERS: usize = 40;

/// An upload of which one segment is lost.
fn upload() -> Record {
    let run = sim::run(1, |sim| async move {
        let (client, server) = sim.pair(LinkConfig::new().delay(Duration::from_millis(10)));
        let mut sent = 0;
        client.set_filter(move |direction, packet| {
            sent += usize::from(direction == Direction::Outbound && packet.len() > HEADERS);
            sent != LOST || direction == Direction::Inbound
        });
        let remote = "10.0.0.2:80".parse().expect("an address");
        let record = client.record(remote);
        let listener = server.net().tcp_listen(remote).await?;
        let mut stream = client.net().tcp_connect(remote).await?;
        let (mut peer, _) = listener.accept().await?;
        let receive = async move { peer.read_to_end(&mut Vec::new()).await };
        stream.write_all(&[7; BYTES]).await?;
        stream.shutdown().await?;
        receive.await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok::<_, io::Error>(record)
    });
    run.expect("no error")
}

#[test]
fn a_record_shows_a_loss_and_its_repair() {
    let points = upload().points();

    let again: Vec<_> = points
        .iter()
        .filter_map(|point| match point.event {
            RecordEvent::Repeated { start, end, rule } => Some((point.at, start, end, rule)),
            _ => None,
        })
        .collect();
    let [(at, start, end, RetransmitRule::DupThresh)] = again[..] else { panic!("{again:?}") };
    let first = points.iter().find(|it| it.event == RecordEvent::Sent { start, end });
    assert!(first.expect("it was sent before").at < at);
    let is_of_gap = |event| matches!(event, RecordEvent::Sacked { start: from, .. } if from == end);
    assert!(points.iter().any(|point| point.at <= at && is_of_gap(point.event)));
    let last = points.iter().rev().find_map(|point| match point.event {
        RecordEvent::Acknowledged { number, .. } => Some(number),
        _ => None,
    });
    // The FIN is one.
    assert_eq!(last, Some(BYTES as u64 + 1));
    let is_again = |point: &&RecordPoint| matches!(point.event, RecordEvent::Repeated { .. });
    let repair = points.iter().find(is_again).expect("it is there");
    assert_eq!(repair.connection.ca_state, netcore::tcp::CaState::Recovery);
}

#[test]
fn a_record_is_the_same_in_each_run_of_a_seed() {
    let csv = upload().to_csv();

    assert_eq!(csv, upload().to_csv());
    let columns = csv.lines().map(|line| line.split(',').count());
    assert!(columns.clone().all(|count| count == 14), "{:?}", columns.max());
    assert_eq!(csv.lines().filter(|line| line.contains(",repeated,")).count(), 1);
}

#[cfg(feature = "plot")]
#[test]
fn a_picture_names_the_rules_of_what_was_repeated() {
    let record = upload();

    let picture = svg::draw(&record.lock(), "an upload").expect("memory");

    for text in ["an upload", "repeated: DupThresh", "congestion window", "round trip"] {
        assert!(picture.contains(text), "{text}");
    }
}
