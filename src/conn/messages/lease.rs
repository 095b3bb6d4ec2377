//! Memory that all connections share for what they keep of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many octets may be kept in all, and how many are.
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
    /// A pool of `most` octets.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { used: AtomicUsize::new(0), most, refused: AtomicUsize::new(0) }))
    }

    /// How often there was no room.
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// A holder that has nothing yet.
    pub(super) fn lease(&self) -> Lease {
        Lease { pool: self.clone(), held: 0 }
    }
}

/// What one holder has of a [`Pool`]; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Pool,
    held: usize,
}

impl Lease {
    /// Takes so many octets more; false when there is no room.
    pub(super) fn take(&mut self, octets: usize) -> bool {
        let Shared { used, most, refused } = &*self.pool.0;
        if used.fetch_add(octets, Ordering::Relaxed).saturating_add(octets) > *most {
            used.fetch_sub(octets, Ordering::Relaxed);
            refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.held += octets;
        true
    }

    /// Gives so many octets back.
    pub(super) fn release(&mut self, octets: usize) {
        let octets = octets.min(self.held);
        self.pool.0.used.fetch_sub(octets, Ordering::Relaxed);
        self.held -= octets;
    }

    /// Gives everything back.
    pub(super) fn give_back(&mut self) {
        self.release(self.held);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
