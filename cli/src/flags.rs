//! The values of flags: each error names the mistake and gives a valid example.

use netstack::IpNet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// An address with the length of its prefix.
pub fn prefixed(text: &str) -> Result<IpNet, String> {
    if let Ok(network) = text.parse() {
        return Ok(network);
    }
    let Some((ip, prefix)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(ip) => {
                let bits = if ip.is_ipv4() { 24 } else { 64 };
                format!("the prefix length is missing, for example \"{ip}/{bits}\"")
            }
            Err(_) => "not an IP address with a prefix length, for example \"10.9.0.2/24\"".into(),
        });
    };
    Err(match ip.parse::<IpAddr>() {
        Ok(ip) => {
            let (bits, usual) = if ip.is_ipv4() { (32, 24) } else { (128, 64) };
            format!(
                "\"{prefix}\" is not a prefix length from 0 to {bits}, for example \"{ip}/{usual}\""
            )
        }
        Err(_) => format!("\"{ip}\" is not an IP address, for example \"10.9.0.2/24\""),
    })
}

/// An address without a prefix.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| match text.parse::<IpNet>() {
        Ok(network) => {
            format!("an IP address without a prefix length, for example \"{}\"", network.addr())
        }
        Err(_) => "not an IP address, for example \"10.9.0.1\" or \"fd00::1\"".into(),
    })
}

/// An address and a port.
pub fn endpoint(text: &str) -> Result<SocketAddr, String> {
    if let Ok(endpoint) = text.parse() {
        return Ok(endpoint);
    }
    let host = target(text)?;
    let host = host.rsplit_once(':').map_or("", |(host, _)| host);
    Err(format!("\"{host}\" is not an IP address, for example \"10.9.0.1:80\" or \"[fd00::1]:80\""))
}

/// An address or a name, and a port.
pub fn target(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("the port is missing, for example \"[{text}]:80\""));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        let host = if text.is_empty() { "10.9.0.1" } else { text };
        return Err(format!("the port is missing, for example \"{host}:80\""));
    };
    if host.is_empty() {
        return Err(format!("the host is missing, for example \"10.9.0.1:{port}\""));
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err(format!("\"{port}\" is not a port from 0 to 65535, for example \"{host}:80\""))
        }
    }
}

/// A port to listen on; 0 for any that is free.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "not a port from 0 to 65535, for example 8080".into())
}

/// A span of time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|all| Duration::try_from_secs_f64(all).ok());
    seconds.ok_or_else(|| "not a number of seconds, zero or more, for example 0.5".into())
}

/// A whole number in a range.
pub fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    example: impl Display,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    let limits = match (*range.start(), *range.end()) {
        (min, u64::MAX) => format!("of {min} or more"),
        (min, max) => format!("from {min} to {max}"),
    };
    let wrong = format!("not a whole number {limits}, for example {example}");
    move |text| {
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| wrong.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_names_the_mistake_and_gives_a_valid_example() {
        for (error, expected) in [
            (
                prefixed("10.9.0.2").err(),
                "the prefix length is missing, for example \"10.9.0.2/24\"",
            ),
            (prefixed("fd00::2").err(), "the prefix length is missing, for example \"fd00::2/64\""),
            (prefixed("10.9.0.999/24").err(), "\"10.9.0.999\" is not an IP address"),
            (prefixed("10.9.0.2/33").err(), "\"33\" is not a prefix length from 0 to 32"),
            (prefixed("fd00::2/129").err(), "\"129\" is not a prefix length from 0 to 128"),
            (prefixed("").err(), "for example \"10.9.0.2/24\""),
            (address("10.9.0.1/24").err(), "without a prefix length, for example \"10.9.0.1\""),
            (address("gateway").err(), "not an IP address, for example \"10.9.0.1\""),
            (endpoint("10.9.0.1").err(), "the port is missing, for example \"10.9.0.1:80\""),
            (endpoint("fd00::1").err(), "the port is missing, for example \"[fd00::1]:80\""),
            (endpoint("[fd00::1]").err(), "the port is missing, for example \"[fd00::1]:80\""),
            (endpoint("host:80").err(), "\"host\" is not an IP address, for example"),
            (endpoint("10.9.0.1:http").err(), "\"http\" is not a port from 0 to 65535"),
            (target("web.test").err(), "the port is missing, for example \"web.test:80\""),
            (target(":80").err(), "the host is missing, for example \"10.9.0.1:80\""),
            (target("web.test:99999").err(), "\"99999\" is not a port from 0 to 65535"),
            (port("http").err(), "not a port from 0 to 65535, for example 8080"),
            (seconds("-1").err(), "not a number of seconds, zero or more, for example 0.5"),
            (seconds("soon").err(), "not a number of seconds"),
            (seconds("NaN").err(), "not a number of seconds"),
            (
                number::<u8>(1..=255, 64)("0").err(),
                "not a whole number from 1 to 255, for example 64",
            ),
            (number::<u16>(0..=u64::MAX, 64)("-1").err(), "not a whole number of 0 or more"),
        ] {
            let error = error.expect("an error");
            assert!(error.contains(expected), "{error:?} instead of {expected:?}");
        }
    }

    #[test]
    fn right_values_are_taken() {
        assert_eq!(
            prefixed("fd00::2/64").map(|network| network.to_string()),
            Ok("fd00::2/64".into())
        );
        assert_eq!(target("[fd00::1]:80"), Ok("[fd00::1]:80".into()));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(number::<usize>(0..=u64::MAX, 1500)("1280"), Ok(1280));
    }
}
