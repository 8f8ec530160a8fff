//! jouleprint: energy and emissions counters by host, GPU and job.
//!
//! ```text
//!  source/   joules, watts  ─┐
//!  job/      cpu time by     ├─► sampler ─► engine (pure) ─► Snapshot ─► output/  scrape, OTLP, page
//!            cgroup          ┘     ▲  tick     meter → attribution → ledger
//!  carbon/   g/kWh ────────────────┘
//! ```
//!
//! | room | what it is | may use |
//! |---|---|---|
//! | [`model`] | the vocabulary: plain data | nothing |
//! | [`engine`] | the core, pure and synchronous | model |
//! | [`clock`] | the only `now()`, and the only chance | model |
//! | [`confine`] | giving up rights | nothing |
//! | [`kernel_file`] | reading the kernel's text files, kept open | nothing |
//! | [`http_client`] | asking other machines | model, clock |
//! | [`source`] | joules and watts | model, clock, kernel_file, http_client |
//! | [`job`] | who used the machine, and what it is called | model, clock, kernel_file, http_client |
//! | [`carbon`] | grams per kWh | model, clock, http_client |
//! | [`store`] | the ledger on disk | model |
//! | [`output`] | the catalogue of series, text formats, HTTP, OTLP | model, clock, http_client |
//! | [`config`] | file, environment and flags to settings | model, and what it sets up: carbon, job, output, source; http_client |
//! | [`sampler`] | tick → read → step → commit → publish | all of the above but output, carbon, config |
//! | [`daemon`], [`command`] | wiring; one file a subcommand | everything |
//!
//! What must stay true, whatever is added:
//!
//! - Every joule and gram lands in exactly one account; sums are integers and exact, on the page too.
//! - Counters only rise. A total moves once, when a job leaves the page, into `retired`.
//! - The groups of one kind, and what is pending, are the host; a job's group once decided stays.
//! - A missing thing is missing, never 0, and a status series says why.
//! - Measured and estimated joules never share a series; an estimate never runs inside a measured root.
//! - A name is found out late, and never part of a counter. Nobody speaks for a job but itself.
//! - A scrape changes nothing and waits for nothing.
//! - The engine has no clock, no I/O, no randomness and no float in its state.

#[cfg(not(target_os = "linux"))]
compile_error!("jouleprint reads Linux's own interfaces; elsewhere there is nothing to read");

pub mod carbon;
pub mod clock;
pub mod command;
pub mod config;
pub mod confine;
pub mod daemon;
pub mod engine;
pub mod http_client;
pub mod job;
pub mod kernel_file;
pub mod model;
pub mod output;
pub mod sampler;
pub mod source;
pub mod store;
