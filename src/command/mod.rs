//! One file a subcommand.

pub mod check;
pub mod doctor;
pub mod grid;
pub mod job;
pub mod jobs;
pub mod local;
pub mod metrics;
pub mod now;
pub mod record;
pub mod regions;
pub mod replay;
pub mod report;
pub mod rules;
pub mod run;
pub mod simulate;
pub mod top;
pub mod when;
