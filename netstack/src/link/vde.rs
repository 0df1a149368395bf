//! The options of `vde://`.

use super::syntax::LinkUrlError;
use crate::device::VdeConfig;

/// The options that there are.
pub(super) const OPTIONS: &str = "group, mode, mtu, port, portgroup";

/// Sets an option other than the MTU.
pub(super) fn set(
    config: &mut VdeConfig,
    key: &str,
    value: Option<&str>,
) -> Result<(), LinkUrlError> {
    let Some(value) = value else {
        return Err(LinkUrlError::new(format!("{key} has no value, for example {}", example(key))));
    };
    match key {
        "group" => config.group = Some(value.to_owned()),
        "mode" => config.mode = Some(mode(value)?),
        "portgroup" if !value.bytes().all(|byte| byte.is_ascii_digit()) => {
            if value.contains('/') {
                let message = format!("portgroup={value} is not a name in the switch's directory");
                return Err(LinkUrlError::new(message));
            }
            config.port_group = Some(value.to_owned());
        }
        // A number is that of a port, whatever it is called.
        _ => config.port = Some(port(key, value)?),
    }
    if config.port.is_some() && config.port_group.is_some() {
        return Err(LinkUrlError::new("portgroup beside port: either is the port"));
    }
    Ok(())
}

fn example(key: &str) -> &'static str {
    match key {
        "group" => "group=vde",
        "mode" => "mode=0770",
        "port" => "port=3",
        _ => "portgroup=lan",
    }
}

fn port(key: &str, value: &str) -> Result<u32, LinkUrlError> {
    let port = value.parse().ok().filter(|port| (1..1 << 24).contains(port));
    port.ok_or_else(|| {
        LinkUrlError::new(format!(
            "{key}={value} is not the number of a port from 1, for example port=3"
        ))
    })
}

fn mode(value: &str) -> Result<u32, LinkUrlError> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| {
        let message = format!("mode={value} is no octal mode up to 0777, for example mode=0770");
        LinkUrlError::new(message)
    })
}
