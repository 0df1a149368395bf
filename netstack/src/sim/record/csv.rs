//! A record as comma-separated values (RFC 4180).

use super::{RecordEvent, RecordPoint};
use std::fmt::Write;
use std::time::Duration;

const HEADER: &str = "seconds,event,start,end,rule,window_end,state,ca_state,snd_cwnd,snd_ssthresh,\
                      in_flight,unacked,rtt_ms,rto_ms\n";

pub(super) fn write(points: &[RecordPoint]) -> String {
    let mut text = HEADER.to_owned();
    for point in points {
        // A string takes all that is written to it.
        let _ = write_point(&mut text, point);
    }
    text
}

fn write_point(text: &mut String, point: &RecordPoint) -> std::fmt::Result {
    write!(text, "{:.6},", point.at.as_secs_f64())?;
    match point.event {
        RecordEvent::Sent { start, end } => write!(text, "sent,{start},{end},,,")?,
        RecordEvent::Repeated { start, end, rule } => {
            write!(text, "repeated,{start},{end},{rule},,")?;
        }
        RecordEvent::Acknowledged { number, window_end } => {
            write!(text, "acknowledged,{number},,,{window_end},")?;
        }
        RecordEvent::Sacked { start, end } => write!(text, "sacked,{start},{end},,,")?,
    }
    let it = &point.connection;
    write!(text, "{},{:?},{},", it.state, it.ca_state, it.snd_cwnd)?;
    if let Some(threshold) = it.snd_ssthresh {
        write!(text, "{threshold}")?;
    }
    write!(text, ",{},{},", it.in_flight, it.unacked)?;
    if let Some(rtt) = it.rtt {
        write!(text, "{:.3}", millis(rtt))?;
    }
    writeln!(text, ",{:.3}", millis(it.rto))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
