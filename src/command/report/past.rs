//! What a report is made of, wherever it comes from: a host's store, or a Prometheus that has read many.

use super::question::BY_ACCOUNT as ACCOUNT;
use crate::engine::split::split;
use crate::model::checkpoint::{Group, REVISED_DOWN, REVISION};
use crate::model::history::{History, JobRecord, Span};
use crate::model::identity::Name;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::Column;
use std::collections::{BTreeMap, BTreeSet};

/// The past, as far as it is known.
#[derive(Debug, Default)]
pub struct Past {
    /// Where it comes from, in words; never with credentials.
    pub source: String,
    /// Up to when.
    pub until: Nanos,
    /// Sums over time.
    pub sums: Vec<Part>,
    /// Jobs.
    pub jobs: Vec<JobRecord>,
    /// Whether a job's record is of its whole life, whatever the period.
    pub has_whole_jobs: bool,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// What is damaged.
    pub damaged: Vec<String>,
}

/// One sum. What is not known is not 0; energy and emissions of the same thing may be two parts.
#[derive(Debug, Clone)]
pub struct Part {
    /// When.
    pub span: Span,
    /// On which host.
    pub host: Name,
    /// In which grid zone; `None` if that is not known.
    pub zone: Option<Name>,
    /// By whom.
    pub group: Group,
    /// On which hardware.
    pub column: Column,
    /// Energy.
    pub energy: Option<Energy>,
    /// Emissions.
    pub emissions: Option<Emissions>,
    /// By how many ng those turned out larger, or smaller if below 0, where figures were revised later.
    pub revision: Option<i128>,
}

impl Past {
    /// What a store holds.
    #[must_use]
    pub fn of_store(history: History, source: String) -> Past {
        let parts = history.sums.into_iter().map(|sum| Part {
            span: sum.span,
            host: sum.host,
            zone: Some(sum.zone),
            group: sum.group,
            column: sum.column,
            energy: Some(sum.energy),
            emissions: Some(sum.emissions),
            revision: None,
        });
        Past {
            source,
            until: history.until,
            sums: revised(parts.collect()),
            jobs: history.jobs,
            has_whole_jobs: true,
            notes: Vec::new(),
            damaged: history.damaged,
        }
    }

    /// Whether there is nothing in it at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.jobs.is_empty()
    }
}

/// Takes the hours' revisions out of the sums and gives each of these its share. An hour's figure is the same
/// for all that was used in it, so the shares are those of the energy, exact in sum for each kind of groups.
fn revised(sums: Vec<Part>) -> Vec<Part> {
    type Place = (Name, Span, Option<Name>);
    let place = |part: &Part| -> Place { (part.host.clone(), part.span, part.zone.clone()) };
    let (revisions, mut parts): (Vec<Part>, Vec<Part>) =
        sums.into_iter().partition(|part| &*part.group.kind == REVISION);
    let mut differences: BTreeMap<Place, i128> = BTreeMap::new();
    for part in &revisions {
        let nanograms = i128::from(part.emissions.unwrap_or_default().as_nano());
        let signed = if &*part.group.name == REVISED_DOWN { -nanograms } else { nanograms };
        *differences.entry(place(part)).or_default() += signed;
    }
    let mut kinds: BTreeMap<(Place, Name), Vec<usize>> = BTreeMap::new();
    for (index, part) in parts.iter().enumerate() {
        kinds.entry((place(part), part.group.kind.clone())).or_default().push(index);
    }
    for ((place, _), indices) in kinds {
        let Some(difference) = differences.get(&place) else { continue };
        let size = u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX);
        let energy = |index: &usize| parts[*index].energy.unwrap_or_default().as_micro();
        let weights: Vec<(u64, u64)> = indices.iter().map(energy).zip(0..).collect();
        let Some(shares) = split(size, weights.into_iter()) else { continue };
        for (index, share) in indices.into_iter().zip(shares) {
            parts[index].revision = Some(i128::from(share) * difference.signum());
        }
    }
    // Where nothing else is known of the hour, as after the host was renamed, it stands for itself.
    let known: BTreeSet<Place> = parts.iter().map(place).collect();
    for part in revisions {
        if let Some(difference) = differences.remove(&place(&part)).filter(|_| !known.contains(&place(&part)))
        {
            let group = Group { kind: ACCOUNT.into(), name: "".into() };
            parts.push(Part { group, energy: None, emissions: None, revision: Some(difference), ..part });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::{HwType, Origin};

    fn part(hour: u64, kind: &str, name: &str, (energy, emissions): (u64, u64)) -> Part {
        let column = Column {
            hw_type: HwType::Cpu,
            gpu: "".into(),
            gpu_instance: "".into(),
            origin: Origin::Measured,
        };
        Part {
            span: Span {
                start: Nanos::from_seconds(hour * 3_600),
                end: Nanos::from_seconds((hour + 1) * 3_600),
            },
            host: "h".into(),
            zone: Some("DE".into()),
            group: Group { kind: kind.into(), name: name.into() },
            column,
            energy: Some(Energy::from_micro(energy)),
            emissions: Some(Emissions::from_nano(emissions)),
            revision: None,
        }
    }

    #[test]
    fn a_revision_is_shared_out_by_energy_and_adds_up_for_each_kind() {
        let sums = vec![
            part(1, "account", "pod", (200, 20)),
            part(1, "account", "idle", (100, 10)),
            part(1, "user", "1000", (50, 5)),
            part(1, "user", "", (250, 25)),
            part(2, "account", "pod", (7, 7)),
            part(1, REVISION, "+", (0, 10)),
            part(1, REVISION, "-", (0, 110)),
            part(9, REVISION, "+", (0, 3)),
        ];
        let revised = revised(sums);
        let shares: Vec<_> = revised.iter().map(|part| (&*part.group.name, part.revision)).collect();
        assert_eq!(
            shares,
            [
                ("pod", Some(-67)),
                ("idle", Some(-33)),
                ("1000", Some(-17)),
                ("", Some(-83)),
                ("pod", None),
                ("", Some(3))
            ]
        );
    }
}
