//! NVIDIA's GPUs through the stand-in library, opened as the real one is.

mod energy;
mod failures;
mod instances;
mod restart;
mod stand_in;

use crate::tree::at;
use jouleprint::engine::Engine;
use jouleprint::kernel_file::Buffer;
use jouleprint::model::quantity::{Energy, Nanos};
use jouleprint::model::reading::{
    Accounting, Domain, Fault, Finding, Groups, IdlePolicy, Load, Machine, Tick, Value,
};
use jouleprint::source::nvml::{Nvml, Wish, discover};
use jouleprint::source::{PowerSource, Sources};
use nvml_stand_in::board::Board;
use nvml_stand_in::scenario::Device;
use std::sync::Arc;
use tempfile::TempDir;

/// A board, and the folder that it lives in.
pub(crate) struct Bench {
    pub(crate) board: Board,
    folder: TempDir,
}

impl Bench {
    /// With these devices.
    fn new(devices: Vec<Device>) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let board = Board::new(folder.path(), devices);
        Bench { board, folder }
    }

    fn of(count: u32) -> Bench {
        Bench::new((0..count).map(Device::numbered).collect())
    }

    fn wish(&self, is_in_step: bool) -> Wish {
        Wish { is_on: true, library: Some(self.board.library()), is_in_step, ..Wish::default() }
    }

    /// The source, on a made-up clock.
    fn source(&self) -> (Nvml, Vec<Finding>) {
        self.found(true)
    }

    /// The source as it is in earnest: who does not answer within 100 ms is left behind.
    fn impatient(&self) -> (Nvml, Vec<Finding>) {
        self.found(false)
    }

    fn found(&self, is_in_step: bool) -> (Nvml, Vec<Finding>) {
        let (nvml, findings) = discover(self.folder.path(), &self.wish(is_in_step), Some);
        (nvml.expect("it is asked for"), findings)
    }
}

/// Reads once at so many seconds.
fn read(source: &mut Nvml, seconds: u64) -> Vec<Result<Value, Fault>> {
    let mut values = Vec::new();
    let load = Load { at: at(seconds).monotonic, busy_ppm: 0 };
    source.read(load, &mut Buffer::default(), &mut values);
    assert_eq!(values.len(), source.domains().len(), "one outcome for each domain");
    values
}

fn millijoules(count: u64) -> Result<Value, Fault> {
    Ok(Value::Counter(Energy::from_micro(count * 1_000)))
}

/// Sources and an engine on a made-up clock.
struct Ledger {
    sources: Sources,
    engine: Engine,
    buffer: Buffer,
}

impl Ledger {
    fn new(source: Nvml) -> Ledger {
        let sources = Sources::of(vec![Box::new(source)], Vec::new());
        let machine = Machine {
            host: "n1".into(),
            cpu_model: "".into(),
            kernel: "".into(),
            domains: sources.domains(),
        };
        let accounting = Accounting {
            idle: IdlePolicy::Separate,
            retention: Nanos::from_seconds(300),
            max_jobs: 10,
            floors: Vec::new(),
            group_kinds: Vec::new(),
            group_hold: Nanos::ZERO,
        };
        Ledger { sources, engine: Engine::new(Arc::new(machine), accounting), buffer: Buffer::default() }
    }

    fn tick(&mut self, seconds: u64) -> Vec<Result<Value, Fault>> {
        let moment = at(seconds);
        let load = Load { at: moment.monotonic, busy_ppm: 0 };
        let meters = self.sources.read(load, &mut self.buffer);
        self.engine.step(&Tick {
            at: moment,
            domains: None,
            gpus: Vec::new(),
            meters: meters.clone(),
            busy: Vec::new(),
            cpus: 1,
            groups: Groups::default(),
            namings: Vec::new(),
            speech: Vec::new(),
            plan: None,
            factor: crate::world::factor("DE", "360"),
        });
        meters
    }

    /// What each domain has used, in µJ.
    fn used(&self) -> Vec<u64> {
        self.engine.totals().domains.iter().map(|domain| domain.energy.as_micro()).collect()
    }

    fn domains(&self) -> Vec<Domain> {
        self.sources.domains()
    }
}

/// The monotonic clock of the made-up machine, in ms.
fn clock_ms(seconds: u64) -> u64 {
    at(seconds).monotonic.get() / 1_000_000
}
