//! What later connections must know of closed ones: TIME-WAIT, and initial sequence numbers past
//! the old ones (RFC 9293 section 3.4.1, RFC 6528).

use crate::context::Context;
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::layer::TcpLayer;
use crate::tcp::wire::LastWords;

impl TcpLayer {
    /// Keeps the ends of a closed connection out of use.
    pub(crate) fn keep_in_time_wait(&mut self, cx: &mut Context, flow: FlowKey, words: LastWords) {
        self.flows.insert(flow, Flow::TimeWait);
        if let Some(oldest) = self.time_wait.insert(flow, words, cx.now) {
            self.flows.remove(&oldest);
        }
    }

    /// Remembers where a connection has ended, if its sequence numbers are ahead of the clock.
    pub(crate) fn note_end(&mut self, cx: &mut Context, flow: FlowKey, end: u32) {
        let isn = cx.random.initial_sequence(&flow, cx.now);
        self.past_ends.note(flow, end, isn, cx.now);
    }

    /// The initial sequence number of a new connection, which has these ends from now on: past
    /// everything that the last one between them has sent.
    pub(crate) fn next_isn(&mut self, cx: &mut Context, flow: &FlowKey) -> u32 {
        let mut isn = cx.random.initial_sequence(flow, cx.now);
        let in_time_wait = self.time_wait.get(flow).map(|words| words.sequence);
        if in_time_wait.is_some() {
            self.time_wait.remove(flow);
        }
        let past = self.past_ends.get(flow, cx.now);
        for end in past.into_iter().chain(in_time_wait) {
            if (isn.wrapping_sub(end) as i32) <= 0 {
                isn = end.wrapping_add(u32::from(cx.random.next_u16()) + 1);
            }
        }
        isn
    }
}
