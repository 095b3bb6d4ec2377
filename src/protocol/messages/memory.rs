//! Memory that all connections share for what they keep of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes may be kept in all, and how many are.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    most: usize,
    /// Requests that were refused.
    refused: AtomicUsize,
}

impl Pool {
    /// A pool of `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { used: AtomicUsize::new(0), most, refused: AtomicUsize::new(0) }))
    }

    /// How often there was no room.
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// A holder that has nothing yet.
    pub(super) fn memory(&self) -> Reservation {
        Reservation { pool: self.clone(), held: 0 }
    }
}

/// What one holder has of a [`Pool`]; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    pool: Pool,
    held: usize,
}

impl Reservation {
    /// Takes so many bytes more; false when there is no room.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Shared { used, most, refused } = &*self.pool.0;
        if used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > *most {
            used.fetch_sub(bytes, Ordering::Relaxed);
            refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.held += bytes;
        true
    }

    /// Gives so many bytes back.
    pub(super) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.pool.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.held -= bytes;
    }

    /// Gives everything back.
    pub(super) fn give_back(&mut self) {
        self.release(self.held);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back();
    }
}
