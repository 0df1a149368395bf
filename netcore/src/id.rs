//! Socket ids.

slotmap::new_key_type! {
    /// Names one socket of one stack.
    ///
    /// An id carries the generation of its slot: after its socket is gone the id names nothing,
    /// for 2³¹ reuses of the slot, and every command with it answers
    /// [`Error::Closed`](crate::Error::Closed). Ids of different stacks must not be mixed.
    pub struct SocketId;
}
