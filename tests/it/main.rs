//! The fast tier in one binary: no root, no network, no hardware.

// A test that cannot unwrap says less, not more.
#![allow(clippy::unwrap_used)]

mod advice;
mod cards;
mod commands;
mod conservation;
mod dashboards;
mod day;
mod faults;
mod fleet;
mod gpus;
mod grid;
mod grid_relay;
mod hosts;
mod house;
mod keeper;
mod manifests;
mod nvml;
mod otlp;
mod page;
mod parsers;
mod prediction;
mod pricing;
mod relay_chain;
mod resume;
mod rules;
mod run;
mod simulation;
mod site;
mod top;
mod tree;
mod world;
