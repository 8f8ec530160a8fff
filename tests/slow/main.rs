//! The slow tier: the real program on real control groups, and a real Prometheus that reads it.
//!
//! Needs root and what `install.sh` installs; `tests/run.sh` does both. Every test ends what it
//! started: processes, control groups, temporary folders. Energy comes from a powercap tree that a
//! thread of the test writes, so that the watts are known; CPU time comes from programs that say
//! themselves what they used.

mod access;
mod attribution;
mod churn;
mod daemon;
mod http;
mod load;
#[path = "../it/page.rs"]
mod page;
mod powercap;
mod prometheus;
mod rig;
