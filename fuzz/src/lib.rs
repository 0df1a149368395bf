//! The fuzz targets: each derives a story from bytes, plays it, and panics if an invariant does not
//! hold.
//!
//! `cargo fuzz` calls the targets with what its coverage suggests, the test `fuzz` of the package
//! `tests` with the kept corpus and with noise.

mod commands;
mod dhcp_server;
mod host;
mod lengths;
mod lies;
mod netlink;
mod overlay;
mod packets;
mod parser;
mod perf_control;
mod requests;
mod socks5;
mod vde_request;
mod wireguard;
mod wireguard_config;

pub use commands::commands;
pub use dhcp_server::dhcp_server;
pub use lengths::lengths;
pub use netlink::netlink;
pub use overlay::overlay;
pub use packets::packets;
pub use parser::parser;
pub use perf_control::perf_control;
pub use requests::requests;
pub use socks5::socks5;
pub use vde_request::vde_request;
pub use wireguard::{WIREGUARD_STORIES_MAX, wireguard};
pub use wireguard_config::wireguard_config;
