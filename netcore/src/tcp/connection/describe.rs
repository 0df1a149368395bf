//! What a connection says of itself: [`TcpInfo`].

use super::{Connection, Stage};
use crate::config::Config;
use crate::snapshot::TcpState;
use crate::tcp::engine::State;
use crate::tcp::info::{TcpInfo, TcpTimers};
use crate::time::Instant;
use std::time::Duration;

impl Connection {
    /// All that is known of it, on a link with this MTU.
    pub(crate) fn info(&self, link_mtu: usize, config: &Config, now: Instant) -> Box<TcpInfo> {
        let mut info = self.last_info(link_mtu, config, now);
        if self.sender.is_none() {
            // What the next one begins with.
            self.new_sender(now).describe_path(&mut info);
        }
        info
    }

    /// What there is to say at its end.
    pub(crate) fn last_info(&self, link_mtu: usize, config: &Config, now: Instant) -> Box<TcpInfo> {
        let rtt = self.handshake_rtt().map(Duration::from_micros);
        let limits = &self.usage.limits;
        let mut info = Box::new(TcpInfo {
            limit: limits.current(),
            limited: limits.times(now),
            state: state_of(self.state()),
            age: now - self.began,
            rtt,
            rttvar: rtt.map(|rtt| rtt / 2),
            min_rtt: rtt,
            last_rtt: rtt,
            congestion_control: self.congestion_control().name().into(),
            segs_in: self.segs_in,
            bytes_received: self.receiver.received(),
            out_of_order_bytes: self.receiver.out_of_order(),
            unread_bytes: self.receiver.unqueued_bytes() as u64,
            snd_buf: self.send_capacity() as u64,
            rcv_buf: self.recv_limit() as u64,
            last_ack_recv: self.wire.has_heard().then(|| now - self.last_heard),
            ..TcpInfo::default()
        });
        if let Some(queue) = self.queue() {
            let (unread, unsent) = queue.queued();
            info.unread_bytes += unread as u64;
            info.notsent_bytes = unsent as u64;
        }
        self.wire.describe(&mut info, link_mtu);
        self.describe_sending(&mut info, now);
        info.timers = self.running_timers(info.timers, config, now);
        info
    }

    /// What it has sent, and the state of its sender.
    fn describe_sending(&self, info: &mut TcpInfo, now: Instant) {
        let usage = &self.usage;
        let (mut sent, mut last_sent) = (usage.sent, usage.last_data_sent());
        (info.bytes_sent, info.bytes_acked) = (usage.sent_bytes, usage.sent_bytes);
        info.data_segs_in = usage.data_segs_in;
        info.rcv_ooopack = usage.out_of_order;
        info.last_data_recv = usage.last_data_recv().map(|at| now - at);
        if let Some(sender) = &self.sender {
            sent.add(sender.counts());
            info.bytes_sent += sender.sent_bytes();
            info.bytes_acked += sender.acked_bytes();
            if sender.counts().segments > 0 {
                last_sent = Some(sender.last_sent());
            }
            let queued = info.notsent_bytes;
            sender.describe(info, now);
            info.notsent_bytes += queued;
        }
        info.bytes_sent += sent.again_bytes;
        info.bytes_retrans = sent.again_bytes;
        info.bytes_lost = sent.lost_bytes;
        info.data_segs_out = sent.segments;
        info.total_retrans = sent.again.into();
        info.spurious_retrans = sent.spurious.into();
        info.dsack_dups = sent.duplicates.into();
        info.reord_seen = sent.reordered.into();
        info.total_rto = sent.timeouts.into();
        info.last_data_sent = last_sent.map(|at| now - at);
    }

    fn running_timers(&self, of_sender: TcpTimers, config: &Config, now: Instant) -> TcpTimers {
        let until = |at: Instant| at - now;
        TcpTimers {
            handshake: self.engine_due.filter(|at| *at > now).map(until),
            delayed_ack: self.wire.acks.due().map(until),
            keep_alive: self.probes_from().map(|(at, _)| until(at)),
            give_up: self.gives_up_at(config).map(until),
            ..of_sender
        }
    }

    /// The round trip of the handshake, unless something of it was lost, in microseconds.
    pub(super) fn handshake_rtt(&self) -> Option<u64> {
        matches!(self.stage, Stage::Open(_)).then(|| self.handshake_micros.into())
    }
}

/// A state as applications see it.
pub(crate) fn state_of(state: State) -> TcpState {
    match state {
        State::Closed => TcpState::Closed,
        State::Listen => TcpState::Listen,
        State::SynSent => TcpState::SynSent,
        State::SynReceived => TcpState::SynReceived,
        State::Established => TcpState::Established,
        State::FinWait1 => TcpState::FinWait1,
        State::FinWait2 => TcpState::FinWait2,
        State::CloseWait => TcpState::CloseWait,
        State::Closing => TcpState::Closing,
        State::LastAck => TcpState::LastAck,
        State::TimeWait => TcpState::TimeWait,
    }
}
