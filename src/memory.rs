//! Memory budgets: a bound that many holders share, and the part of it that each holder uses.
//!
//! Reassembly has one for segments that wait behind a hole, and messages have one for what is kept of them. A budget
//! can be shared between threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that all its [`Reservation`]s together may use.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<MemoryUse>);

#[derive(Debug)]
struct MemoryUse {
    used: AtomicUsize,
    most: usize,
    /// Number of reservations that were refused.
    refused: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(MemoryUse { used: AtomicUsize::new(0), most, refused: AtomicUsize::new(0) }))
    }

    /// How often a reservation was refused because the budget was used up.
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Number of bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A reservation of no bytes yet.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), held: 0 }
    }
}

/// The bytes that one holder uses of a [`MemoryBudget`]. Dropping it returns them.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    held: usize,
}

impl Reservation {
    /// Number of bytes reserved here.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Reserves so many bytes more; returns false, and reserves nothing, when the budget does not have them.
    pub fn take(&mut self, bytes: usize) -> bool {
        let MemoryUse { used, most, refused } = &*self.budget.0;
        if used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > *most {
            used.fetch_sub(bytes, Ordering::Relaxed);
            refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.held += bytes;
        true
    }

    /// Makes it a reservation of so many bytes; returns false, and changes nothing, when the budget does not have them.
    pub fn resize(&mut self, bytes: usize) -> bool {
        match bytes.checked_sub(self.held) {
            Some(more) => more == 0 || self.take(more),
            None => {
                self.release(self.held - bytes);
                true
            }
        }
    }

    /// Reserves so many bytes more, unless a quarter of the budget is in use then: for what can be done without, and must
    /// leave the rest to others.
    pub fn take_spare(&mut self, bytes: usize) -> bool {
        self.budget.used().saturating_add(bytes) <= self.budget.0.most / 4 && self.take(bytes)
    }

    /// Reserves so many bytes more even beyond the budget: for a holder that then releases others until
    /// [`Self::is_over_budget`] is false.
    pub fn take_beyond(&mut self, bytes: usize) {
        self.budget.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.held += bytes;
    }

    /// Counts what a holder releases since it has too much as a refusal.
    pub fn note_refusal(&self) {
        self.budget.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all reservations together exceed the budget.
    pub fn is_over_budget(&self) -> bool {
        self.budget.used() > self.budget.0.most
    }

    /// Returns so many bytes.
    pub fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.budget.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.held -= bytes;
    }

    /// Returns all reserved bytes.
    pub fn release_all(&mut self) {
        self.release(self.held);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release_all();
    }
}
