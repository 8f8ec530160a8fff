//! What the meters of a whole node have in common: the domain they are, and what they say in the log.

use crate::model::identity::{HwType, Origin};
use crate::model::quantity::MicroWatts;
use crate::model::reading::{Domain, Fault, Finding, Measurement, Place};

/// No node draws more; a rack does.
const CEILING: MicroWatts = MicroWatts::from_watts(100_000);

/// The node by the meter called `source`. What it stands around is for the cut to say.
#[must_use]
pub fn domain(source: &str) -> Domain {
    Domain {
        id: source.into(),
        hw_type: HwType::Other,
        origin: Origin::Measured,
        gpu: "".into(),
        source: source.into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::MeanPower { ceiling: CEILING },
        floor: None,
        uncertainty_ppm: 0,
    }
}

/// What was found of it, or why nothing was.
#[must_use]
pub fn finding(source: &str, hw_id: &str, fault: Option<Fault>, detail: &str) -> Finding {
    Finding { source: source.into(), hw_id: hw_id.into(), fault, detail: detail.into() }
}

/// Says each change of a meter's state once.
#[derive(Debug)]
pub struct Telling {
    source: &'static str,
    told: Option<Fault>,
}

impl Telling {
    /// All is well until told otherwise.
    #[must_use]
    pub const fn new(source: &'static str) -> Telling {
        Telling { source, told: None }
    }

    /// Takes note of a reading, or of its fault and the words for it.
    ///
    /// # Errors
    /// The fault.
    pub fn note<T>(&mut self, outcome: Result<T, (Fault, String)>) -> Result<T, Fault> {
        match outcome {
            Ok(value) => {
                if self.told.take().is_some() {
                    tracing::info!(source = self.source, "the node's meter is read again");
                }
                Ok(value)
            }
            Err((fault, words)) => {
                if self.told != Some(fault) {
                    tracing::warn!(source = self.source, "the node's meter is not read: {words}");
                    self.told = Some(fault);
                }
                Err(fault)
            }
        }
    }
}
