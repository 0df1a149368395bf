#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![deny(missing_docs)]

pub mod c;
mod config;
mod datagrams;
mod failure;
mod names;
mod netlink;
mod network;
mod options;
mod sockets;
mod stack;
mod streams;
mod waiting;
