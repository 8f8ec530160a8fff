//! One file a subcommand.

pub mod check;
pub mod doctor;
pub mod metrics;
pub mod replay;
