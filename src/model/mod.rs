//! The vocabulary that every other room speaks: quantities, times, identities, readings, snapshots.
//! Plain data: no I/O, no clock, and nothing here imports from the rest of the crate.

pub mod checkpoint;
pub mod description;
pub mod gpu;
pub mod grid;
pub mod groups;
pub mod history;
pub mod identity;
pub mod quantity;
pub mod reading;
pub mod snapshot;
pub mod speech;
pub mod time;
