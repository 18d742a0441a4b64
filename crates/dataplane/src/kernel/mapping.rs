//! Memory that the kernel's programs and this process share.
#![expect(unsafe_code, reason = "mapped memory; every block says why it is sound")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::layout::{
    Bucket, ChoiceTable, FlowSlot, GatewayTally, LiveSlot, NoteRing, PlaceRing, PortDrops, PortLive,
    PortMasks, PortSlot, PortTally, Settings, TemplateSlot,
};

/// A value that a mapped array may hold: all zeros and anything else that a program writes is one.
///
/// # Safety
/// Every bit pattern must be a value.
pub(super) unsafe trait Plain {}

/// A value of which references may be handed out while a program changes it.
///
/// # Safety
/// It must be made of atomics only.
pub(super) unsafe trait Shared: Plain {}

macro_rules! shared {
    ($($kind:ty),*) => { $(
        // SAFETY: integers, and atomic ones at that.
        unsafe impl Plain for $kind {}
        // SAFETY: the same.
        unsafe impl Shared for $kind {}
    )* };
}

shared!(AtomicU32, AtomicU64, [AtomicU64; 8], Settings, LiveSlot, Bucket, PlaceRing, NoteRing);
shared!(ChoiceTable, PortSlot, PortMasks, PortLive, PortDrops, PortTally, GatewayTally);
// SAFETY: integers throughout.
unsafe impl Plain for FlowSlot {}
// SAFETY: the same.
unsafe impl Plain for TemplateSlot {}

/// An array in memory that a program may share.
#[derive(Debug)]
pub(super) struct Mapped<T: Plain> {
    start: NonNull<T>,
    length: usize,
    _values: PhantomData<T>,
}

// SAFETY: the memory belongs to no thread; what is shared between threads is atomic, or reached by raw pointers whose
// users say why that is sound.
unsafe impl<T: Plain> Send for Mapped<T> {}
// SAFETY: the same.
unsafe impl<T: Plain> Sync for Mapped<T> {}

impl<T: Plain> Mapped<T> {
    /// Maps the values of an array map that has at least so many entries, each as large as a `T`.
    pub fn of_map(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::map(map.as_raw_fd(), libc::MAP_SHARED, length)
    }

    /// Memory of this process only.
    #[cfg(test)]
    pub fn anonymous(length: usize) -> io::Result<Self> {
        Self::map(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, length)
    }

    fn map(fd: libc::c_int, flags: libc::c_int, length: usize) -> io::Result<Self> {
        let bytes = length
            .checked_mul(size_of::<T>())
            .filter(|bytes| *bytes > 0)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the kernel's choice; the kernel refuses one beyond the end of a map.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, length, _values: PhantomData })
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Where a value is. Valid as long as `self` is.
    #[inline]
    pub fn pointer(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: within the mapping, which is one allocation. Pages are aligned to more than any `T`.
        (index < self.length).then(|| unsafe { self.start.add(index) })
    }
}

impl<T: Shared> Mapped<T> {
    /// A value.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: within the mapping, which lives as long as `self`; whoever writes beside us, it is atomics.
        self.pointer(index).map(|value| unsafe { value.as_ref() })
    }
}

impl<T: Plain> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made above; nothing that borrows from it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn memory_ends_where_it_ends() {
        let memory = Mapped::<AtomicU64>::anonymous(3).unwrap();
        memory.get(2).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(memory.get(2).unwrap().load(Ordering::Relaxed), 7);
        assert!(memory.get(3).is_none());
        assert!(Mapped::<AtomicU64>::anonymous(0).is_err());
    }
}
