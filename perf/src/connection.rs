//! Streams: as many bytes as pass, in one direction.

use crate::channel::Channel;
use crate::failure::Failure;
use crate::pacer::Pacer;
use crate::pattern;
use crate::tally::{Budget, Tally};
use bytes::Bytes;
use std::io;
use tokio::task::consume_budget;

/// How a sender sends.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// The size of a block.
    pub(crate) block_bytes: usize,
    /// Bits a second; 0 for as many as pass.
    pub(crate) rate: u64,
    /// Each byte says where it stands.
    pub(crate) verify: bool,
}

/// Sends until the budget is spent.
///
/// # Cancel safety
///
/// If the future is dropped, exactly the bytes that the tally has are sent.
pub(crate) async fn send(
    channel: &mut Channel,
    tally: &Tally,
    budget: &Budget,
    sending: &Sending,
) -> io::Result<()> {
    let zeros = Bytes::from(vec![0; sending.block_bytes]);
    let mut pacer = Pacer::new(sending.rate);
    let mut sent = 0;
    loop {
        let len = budget.take(sending.block_bytes);
        if len == 0 {
            return Ok(());
        }
        pacer.wait(len).await;
        let mut block = match sending.verify {
            true => pattern::bytes(sent, len),
            false => zeros.slice(..len),
        };
        while !block.is_empty() {
            let written = channel.write_bytes(&mut block).await? as u64;
            sent += written;
            tally.count(|counts| counts.bytes += written);
        }
        // A link in memory may be as fast as this loop.
        consume_budget().await;
    }
}

/// Receives to the end of the stream.
///
/// # Cancel safety
///
/// If the future is dropped, exactly the bytes that the tally has were received.
pub(crate) async fn receive(
    channel: &mut Channel,
    tally: &Tally,
    budget: &Budget,
    verify: bool,
) -> Result<(), Failure> {
    let mut received = 0;
    loop {
        let piece = channel.recv_bytes(PIECE_BYTES_MAX).await.map_err(Failure::io("receiving"))?;
        if piece.is_empty() {
            return Ok(());
        }
        if verify {
            check(received, &piece)?;
        }
        received += piece.len() as u64;
        tally.count(|counts| counts.bytes += piece.len() as u64);
        budget.take(piece.len());
        consume_budget().await;
    }
}

/// That each byte is the one of its place.
pub(crate) fn check(start: u64, bytes: &[u8]) -> Result<(), Failure> {
    match pattern::find_mistake(start, bytes) {
        None => Ok(()),
        Some((place, byte)) => {
            let right = pattern::bytes(place, 1)[0];
            Err(Failure::Corrupt(format!("byte {place} is {byte:#04x} instead of {right:#04x}")))
        }
    }
}

const PIECE_BYTES_MAX: usize = 256 * 1024;
