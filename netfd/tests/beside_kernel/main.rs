//! Descriptors of a stack's sockets beside the kernel's: one program for both, and the same answers.
#![cfg(target_os = "linux")]

mod connecting;
mod datagrams;
mod endings;
mod events;
mod listeners;
mod passing;
mod reading;
mod world;
