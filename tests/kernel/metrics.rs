//! The metrics of a stack, as curl and Prometheus see them.

use crate::endings::serving;
use crate::namespace::{Outcome, program};
use crate::programs::output;
use std::error::Error;
use std::io::Write;
use std::process::Stdio;

const URL: &str = "http://10.9.0.2:9100/metrics";

/// curl reads numbers that move, and no label names a connection.
pub(crate) fn scraped() -> Outcome {
    let _server = serving("metrics", &[], "serving metrics on [::]:9100")?;

    let first = scrape()?;
    let second = scrape()?;

    for name in ["netstack_frames_received_total", "netstack_tcp_connections_established_total"] {
        let before = value(&first, &format!("{name}{{stack=\"netstack\"}}"))?;
        let after = value(&second, &format!("{name}{{stack=\"netstack\"}}"))?;
        assert!(before < after, "{name}: {before}, {after}");
    }
    let listening = value(&second, "netstack_tcp_sockets{stack=\"netstack\",state=\"LISTEN\"}")?;
    assert_eq!(listening, 1.0);
    assert!(second.contains("# HELP netstack_tcp_segments_retransmitted_total "), "{second}");
    assert!(!second.contains("10.9.0.1"), "{second}");
    Ok(())
}

/// promtool finds nothing wrong with names, types and help texts.
pub(crate) fn checked() -> Outcome {
    let mut promtool = program("promtool")?;
    let _server = serving("metrics", &[], "serving metrics on [::]:9100")?;
    let text = scrape()?;

    let mut check = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    check.stdin.take().expect("it is piped").write_all(text.as_bytes())?;
    let checked = check.wait_with_output()?;

    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{text}");
    Ok(())
}

fn scrape() -> Result<String, Box<dyn Error + Send + Sync>> {
    output(program("curl")?.args(["--fail", "--silent", "--show-error", "--max-time", "10", URL]))
}

/// The value of a metric with its labels.
fn value(text: &str, metric: &str) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let line = text.lines().find_map(|line| line.strip_prefix(metric));
    Ok(line.ok_or_else(|| format!("no {metric} in\n{text}"))?.trim().parse()?)
}
