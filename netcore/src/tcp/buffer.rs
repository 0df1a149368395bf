//! The memory behind TCP buffers.
//!
//! A connection's receive and send buffers are as large as its windows, and mostly empty. They are
//! carved out of large anonymous maps, so that they cost address space until they are touched, and
//! go back there when the connection ends. smoltcp fixes a socket's buffers when it is made and
//! wants them to outlive it, which is what the unsafe code here is for; it is the only such code
//! in this crate.

#![expect(unsafe_code, reason = "smoltcp wants buffers that outlive its sockets; see above")]

use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use std::collections::HashMap;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// Hands out buffers and takes them back.
#[derive(Debug)]
pub(crate) struct Arena {
    /// One free list for each size; sizes come from configuration, so there are few.
    classes: HashMap<usize, Class>,
    /// Bytes of buffers handed out, and how many that may be.
    leased: usize,
    leased_max: usize,
}

#[derive(Debug, Default)]
struct Class {
    /// Buffers whose pages are still there: the next connection takes them without a page fault.
    warm: Vec<Lease>,
    /// Buffers whose pages were given back.
    cold: Vec<Lease>,
    /// The rest of the newest map.
    rest: Option<Lease>,
}

/// How many bytes of buffers stay warm in each size class.
const WARM_BYTES: usize = 16 << 20;
/// The size of a map; a larger buffer gets a map of its own.
const REGION_BYTES: usize = 64 << 20;
/// Buffers are multiples of this, so that giving back the pages of one leaves its neighbours'.
const PAGE_BYTES: usize = 4096;
/// smoltcp's limit for a receive buffer.
const BUFFER_BYTES_MAX: usize = 1 << 30;

impl Arena {
    /// An arena that hands out at most `leased_max` bytes at a time.
    pub(crate) fn new(leased_max: usize) -> Self {
        Self { classes: HashMap::new(), leased: 0, leased_max }
    }

    /// Whether buffers of these sizes can be handed out together.
    pub(crate) fn has_room(&self, sizes: [usize; 2]) -> bool {
        sizes.into_iter().map(rounded).sum::<usize>() <= self.leased_max - self.leased
    }

    fn lease(&mut self, bytes: usize) -> io::Result<Lease> {
        let len = rounded(bytes);
        if len > self.leased_max - self.leased {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let class = self.classes.entry(len).or_default();
        let lease = match class.warm.pop().or_else(|| class.cold.pop()) {
            Some(lease) => lease,
            None => class.carve(len)?,
        };
        self.leased += len;
        Ok(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.leased -= lease.len;
        let class = self.classes.entry(lease.len).or_default();
        if (class.warm.len() + 1) * lease.len <= WARM_BYTES {
            class.warm.push(lease);
        } else {
            lease.forget_contents();
            class.cold.push(lease);
        }
    }

    /// Bytes of buffers handed out.
    pub(crate) fn leased_bytes(&self) -> usize {
        self.leased
    }
}

/// The size of a buffer of which so much is asked.
pub(crate) fn rounded(bytes: usize) -> usize {
    bytes.clamp(1, BUFFER_BYTES_MAX).next_multiple_of(PAGE_BYTES)
}

impl Class {
    fn carve(&mut self, len: usize) -> io::Result<Lease> {
        let mut rest = match self.rest.take() {
            Some(rest) if rest.len >= len => rest,
            _ => Lease::whole(Region::new(REGION_BYTES.max(len))?),
        };
        let lease = Lease { region: rest.region.clone(), offset: rest.offset, len };
        rest.offset += len;
        rest.len -= len;
        self.rest = (rest.len > 0).then_some(rest);
        Ok(lease)
    }
}

/// Exclusive use of one part of a region. Leases are made by splitting, so no two overlap.
#[derive(Debug)]
struct Lease {
    region: Arc<Region>,
    offset: usize,
    len: usize,
}

impl Lease {
    fn whole(region: Region) -> Self {
        let len = region.len;
        Self { region: Arc::new(region), offset: 0, len }
    }

    /// The leased bytes.
    ///
    /// # Safety
    ///
    /// The slice must be gone before the lease is used again, given back or dropped.
    unsafe fn bytes(&mut self) -> &'static mut [u8] {
        // SAFETY: `offset..offset + len` lies inside the region, whose memory is initialised
        // (anonymous maps are zero) and lives while `self.region` does. No other lease covers it,
        // and `&mut self` with the caller's promise keeps this the only slice.
        unsafe {
            let start = self.region.base.add(self.offset);
            std::slice::from_raw_parts_mut(start.as_ptr(), self.len)
        }
    }

    /// Gives the pages back to the system; they read as zero afterwards. Their contents are
    /// lost.
    fn forget_contents(&self) {
        self.region.forget(self.offset, self.len);
    }
}

/// One anonymous map.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
    #[cfg(not(miri))]
    map: memmap2::MmapMut,
    #[cfg(miri)]
    layout: std::alloc::Layout,
}

// SAFETY: a region is memory and its bounds. What is in it is only reached through leases, each of
// which is exclusive to its holder.
unsafe impl Send for Region {}
// SAFETY: as above; the methods of a shared region touch no contents but for `forget`, which is
// called with the range of a lease that its holder has at hand.
unsafe impl Sync for Region {}

#[cfg(not(miri))]
impl Region {
    fn new(len: usize) -> io::Result<Self> {
        // Not reserving swap is what lets a million mostly untouched buffers fit.
        let mut map = memmap2::MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
        // One touched byte must not fault in two megabytes. A kernel without huge pages refuses
        // the advice and needs none.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        let base = NonNull::new(map.as_mut_ptr()).expect("a map is not at address 0");
        Ok(Self { base, len, map })
    }

    fn forget(&self, offset: usize, len: usize) {
        #[cfg(target_os = "linux")]
        // SAFETY: the range belongs to a lease whose contents are unused and
        // expendable, so zeroing its pages changes nothing that anybody reads.
        unsafe {
            // Failing costs memory, not correctness.
            let _ =
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (&self.map, offset, len);
    }
}

/// Miri has no maps: it gets zeroed memory from the allocator.
#[cfg(miri)]
impl Region {
    fn new(len: usize) -> io::Result<Self> {
        // Small enough to be quick; `carve` asks for what it needs.
        let layout = std::alloc::Layout::from_size_align(len, PAGE_BYTES)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the layout is not empty: lengths are at least one page.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
            .ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, layout })
    }

    fn forget(&self, offset: usize, len: usize) {
        // SAFETY: inside the region, and the range is not in use.
        unsafe { std::ptr::write_bytes(self.base.add(offset).as_ptr(), 0, len) }
    }
}

#[cfg(miri)]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// A socket set with exactly one TCP socket, and the buffers of that socket.
///
/// The socket must never be moved out of its set: its buffers go back to the arena when this is
/// released, whether or not it is still there.
#[derive(Debug)]
pub(crate) struct SoloSocket {
    // Before the leases, so that it is dropped first.
    set: SocketSet<'static>,
    handle: SocketHandle,
    recv: Lease,
    send: Lease,
}

impl SoloSocket {
    /// Makes a closed socket with buffers of these sizes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::QuotaExceeded`] at the arena's bound; the system's error if it has no
    /// address space left.
    pub(crate) fn new(arena: &mut Arena, recv_bytes: usize, send_bytes: usize) -> io::Result<Self> {
        let mut recv = arena.lease(recv_bytes)?;
        let mut send = match arena.lease(send_bytes) {
            Ok(send) => send,
            Err(error) => {
                arena.give_back(recv);
                return Err(error);
            }
        };
        // SAFETY: the slices go into the socket, the socket into the set, and the set is dropped
        // before the leases are, in `release` and by the order of the fields.
        let (recv_bytes, send_bytes) = unsafe { (recv.bytes(), send.bytes()) };
        let socket = tcp::Socket::new(
            tcp::SocketBuffer::new(recv_bytes),
            tcp::SocketBuffer::new(send_bytes),
        );
        // Exactly one slot: a set that grows would reserve four.
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(socket);
        Ok(Self { set, handle, recv, send })
    }

    pub(crate) fn tcp(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    pub(crate) fn tcp_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    pub(crate) fn set(&self) -> &SocketSet<'static> {
        &self.set
    }

    pub(crate) fn set_mut(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }

    /// Gives the pages behind both buffers back to the system, while the socket goes on. There
    /// must be nothing in them: no byte to be read, none behind a gap, none to be acknowledged.
    pub(crate) fn forget_contents(&mut self) {
        // smoltcp keeps the slices, and nothing else uses them during this call. That bytes of
        // theirs become zero is no more to them than if smoltcp had written these itself: any byte
        // of its buffers is written before it is read again. Miri would want smoltcp to do it.
        #[cfg(not(miri))]
        for lease in [&self.recv, &self.send] {
            lease.forget_contents();
        }
    }

    /// Drops the socket and gives its buffers back.
    pub(crate) fn release(self, arena: &mut Arena) {
        let Self { set, recv, send, .. } = self;
        drop(set);
        arena.give_back(recv);
        arena.give_back(send);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(arena: &mut Arena, byte: u8) -> Lease {
        let mut lease = arena.lease(PAGE_BYTES).expect("address space");
        // SAFETY: the slice does not outlive this line.
        unsafe { lease.bytes() }.fill(byte);
        lease
    }

    #[test]
    fn leases_do_not_overlap() {
        let mut arena = Arena::new(usize::MAX);

        let mut leases: Vec<_> = (1..=8).map(|byte| fill(&mut arena, byte)).collect();

        for (byte, lease) in (1..=8).zip(&mut leases) {
            // SAFETY: the slice does not outlive this line.
            assert!(unsafe { lease.bytes() }.iter().all(|found| *found == byte));
        }
    }

    #[test]
    fn what_is_given_back_is_leased_again() {
        let mut arena = Arena::new(usize::MAX);
        let first = fill(&mut arena, 1);
        let (region, offset) = (Arc::as_ptr(&first.region), first.offset);

        arena.give_back(first);
        let again = arena.lease(PAGE_BYTES).expect("address space");

        assert_eq!((Arc::as_ptr(&again.region), again.offset), (region, offset));
        assert_eq!(arena.leased_bytes(), PAGE_BYTES);
    }

    #[test]
    fn forgotten_contents_read_as_zero() {
        let mut arena = Arena::new(usize::MAX);
        let mut lease = fill(&mut arena, 7);

        lease.forget_contents();

        // SAFETY: the slice does not outlive this line.
        assert!(unsafe { lease.bytes() }.iter().all(|byte| *byte == 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "it keeps the pages")]
    fn a_socket_in_use_gives_its_pages_back_and_can_be_used_again() {
        let mut arena = Arena::new(usize::MAX);
        let mut solo = SoloSocket::new(&mut arena, PAGE_BYTES, PAGE_BYTES).expect("space");
        let start = |lease: &Lease| {
            // SAFETY: inside the region.
            unsafe { lease.region.base.add(lease.offset) }
        };
        for lease in [&solo.recv, &solo.send] {
            // SAFETY: nothing else writes there now, and the region is there.
            unsafe { start(lease).write(7) };
        }

        solo.forget_contents();

        for lease in [&solo.recv, &solo.send] {
            // SAFETY: as above.
            assert_eq!(unsafe { start(lease).read() }, 0);
        }
        solo.release(&mut arena);
        assert_eq!(arena.leased_bytes(), 0);
    }

    #[test]
    fn at_the_bound_nothing_is_leased_until_something_comes_back() {
        let mut arena = Arena::new(3 * PAGE_BYTES);
        let first = SoloSocket::new(&mut arena, PAGE_BYTES, 1).expect("room");
        assert!(!arena.has_room([1, 1]));

        let refused = SoloSocket::new(&mut arena, 1, 1).map_err(|error| error.kind());

        assert_eq!(refused.err(), Some(io::ErrorKind::QuotaExceeded));
        assert_eq!(arena.leased_bytes(), 2 * PAGE_BYTES, "half a pair is given back");
        first.release(&mut arena);
        assert!(arena.has_room([1, PAGE_BYTES]));
        SoloSocket::new(&mut arena, 1, PAGE_BYTES).expect("room again").release(&mut arena);
    }

    #[test]
    fn a_released_socket_leaves_nothing_leased() {
        let mut arena = Arena::new(usize::MAX);

        let solo = SoloSocket::new(&mut arena, 65536, 1).expect("address space");
        assert_eq!(solo.tcp().recv_capacity(), 65536);
        assert_eq!(solo.tcp().send_capacity(), PAGE_BYTES);
        solo.release(&mut arena);

        assert_eq!(arena.leased_bytes(), 0);
    }
}
