//! Socket ids.

slotmap::new_key_type! {
    /// The id of a socket of one stack.
    ///
    /// An id carries the generation of its slot: after its socket is removed it names no other, for
    /// 2³¹ reuses of the slot, and every command with it fails with
    /// [`Error::Closed`](crate::Error::Closed). Ids of different stacks must not be mixed.
    pub struct SocketId;
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;
    use std::collections::HashSet;

    #[test]
    fn id_is_not_reused_with_its_slot() {
        let mut slots = SlotMap::<SocketId, u32>::with_key();
        let mut ids = HashSet::new();

        for socket in 0..1000 {
            let id = slots.insert(socket);
            assert!(ids.insert(id), "{id:?} was assigned twice");
            assert_eq!(slots.remove(id), Some(socket));
            assert_eq!(slots.get(id), None);
        }
        let last = slots.insert(1000);

        assert!(ids.iter().all(|id| slots.get(*id).is_none()));
        assert_eq!(slots[last], 1000);
    }
}
