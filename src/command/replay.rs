//! `jouleprint replay`: a recording through the engine, to the page it gives.

use crate::engine::Engine;
use crate::model::reading::Header;
use crate::model::snapshot::{SamplerState, Snapshot};
use crate::output::prometheus::{Format, render};
use crate::source::recorded::{Recording, RecordingError};
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be opened.
    #[error("opening {path}: {error}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The file is no recording.
    #[error("{path}: {error}")]
    Recording {
        /// Which.
        path: String,
        /// Where and what.
        error: RecordingError,
    },
    /// There are no ticks.
    #[error("{path}: the recording has no ticks")]
    Empty {
        /// Which.
        path: String,
    },
    /// The page cannot be written.
    #[error("writing the page: {0}")]
    Write(io::Error),
}

/// Replays `path` and prints the page after its last tick.
///
/// # Errors
/// It is no recording, or the page cannot be written.
pub fn run(path: &Path, format: Format) -> Result<(), ReplayError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| ReplayError::Open { path: shown.clone(), error })?;
    let recorded = |error| ReplayError::Recording { path: shown.clone(), error };
    let mut recording = Recording::open(BufReader::new(file)).map_err(recorded)?;
    let mut replay = Replay::new(&recording.header);
    let mut last = None;
    for tick in &mut recording {
        last = Some(replay.step(&tick.map_err(recorded)?));
    }
    let snapshot = last.ok_or(ReplayError::Empty { path: shown.clone() })?;
    let mut text = Vec::new();
    render(&snapshot, format, "", &mut text);
    io::stdout().write_all(&text).map_err(ReplayError::Write)
}

/// An engine without a machine.
pub struct Replay {
    engine: Engine,
    header: Header,
}

impl Replay {
    /// Ready for the first tick.
    #[must_use]
    pub fn new(header: &Header) -> Replay {
        let machine = Arc::new(header.machine.clone());
        Replay { engine: Engine::new(machine, header.accounting.clone()), header: header.clone() }
    }

    /// The state after one more tick.
    pub fn step(&mut self, tick: &crate::model::reading::Tick) -> Snapshot {
        self.engine.step(tick);
        Snapshot {
            at: tick.at,
            interval: self.header.interval,
            machine: Arc::clone(self.engine.machine()),
            totals: Arc::new(self.engine.totals()),
            grid: None,
            factor: Arc::new(tick.factor.clone()),
            gpus: Vec::new(),
            predictions: Arc::default(),
            sources: Vec::new(),
            sampler: SamplerState::default(),
            store: None,
            push: None,
            process: crate::model::snapshot::ProcessState::default(),
        }
    }
}
