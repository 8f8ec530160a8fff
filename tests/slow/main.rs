//! The slow tier: the real program on real control groups, and a real Prometheus that reads it.
//!
//! Needs root and what `install.sh` installs; `tests/run.sh` does both. Every test ends what it
//! started: processes, control groups, temporary folders. Energy comes from a powercap tree that a
//! thread of the test writes, so that the watts are known; CPU time comes from programs that say
//! themselves what they used. The tests of the store run the program on a made-up machine (`machine.rs`),
//! so that what it must say after a kill is known to the µJ.

mod access;
mod attribution;
mod bed;
mod bmc;
mod chart;
mod churn;
mod containers;
mod crash;
mod daemon;
mod dashboards;
mod deploy;
mod disk;
#[cfg(feature = "rare")]
mod drawn;
mod gpu;
mod groups;
#[cfg(feature = "rare")]
mod guest;
mod holders;
mod http;
mod image;
mod kill;
mod kubelet;
mod kubernetes;
mod load;
mod machine;
mod meters;
mod otlp;
#[path = "../it/page.rs"]
mod page;
mod powercap;
#[cfg(feature = "rare")]
mod prediction;
mod process;
mod prometheus;
#[cfg(feature = "rare")]
mod rare;
mod reader;
mod report;
mod restart;
mod rig;
mod rollout;
mod roots;
mod rules;
mod run;
mod scraped;
mod sidecar;
mod simulate;
mod slurm;
mod soak;
mod socket;
mod speech;
#[cfg(feature = "rare")]
mod thousand;
mod top;
mod trouble;
mod unit;
