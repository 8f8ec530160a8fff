//! All hosts of a scenario: each with a tick of its own in every interval, spread evenly, as real ones are.

use super::day;
use super::host::Host;
use super::scenario::Scenario;
use crate::clock;
use crate::model::grid::Grid;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Ns in an hour.
const HOUR: u64 = 3_600_000_000_000;

/// A machine that slept catches up with so many intervals at the most; then the hosts' clocks are late.
const MAX_LATE: u64 = 20;

/// The hosts.
pub struct Fleet {
    scenario: Scenario,
    hosts: Vec<Mutex<Host>>,
    places: HashMap<Name, usize>,
    // By zone, of an hour: all hosts of a zone share it.
    grids: Vec<Mutex<Option<Hourly>>>,
    started: Nanos,
}

/// What is known of a zone, and the hour since 1970 in which it is.
type Hourly = (u64, Arc<Grid>);

/// Energy in µJ and emissions in ng.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// In µJ.
    pub energy_microjoules: u128,
    /// In ng.
    pub emissions_nanograms: u128,
}

/// What a host drew, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostTruth {
    /// Its cluster.
    pub cluster: Name,
    /// Its zone.
    pub grid_zone: Name,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// What a group is charged with on all hosts of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupTruth {
    /// Its cluster.
    pub cluster: Name,
    /// `namespace`, `team`.
    pub group_kind: Name,
    /// Its name; empty for what is in none.
    pub group: Name,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// Everything since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// When the fleet started, in s since 1970.
    pub started_seconds: u64,
    /// Now.
    pub time_seconds: u64,
    /// All of it.
    pub organization: Amount,
    /// By cluster.
    pub clusters: BTreeMap<Name, Amount>,
    /// By zone.
    pub zones: BTreeMap<Name, Amount>,
    /// By host.
    pub hosts: BTreeMap<Name, HostTruth>,
    /// By group, as far as it is shown.
    pub groups: Vec<GroupTruth>,
    /// By kind of groups, what is not shown yet.
    pub pending: BTreeMap<Name, Amount>,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.energy_microjoules += other.energy_microjoules;
        self.emissions_nanograms += other.emissions_nanograms;
    }
}

impl Fleet {
    /// A fleet whose first ticks are due by now.
    #[must_use]
    pub fn new(scenario: Scenario, started: Nanos) -> Fleet {
        // The first tick is already due at the start, the second when its turn comes.
        let host = |number| {
            let early = scenario.interval.saturating_sub(turn(&scenario, number));
            Mutex::new(Host::new(&scenario, number, started.saturating_sub(early)))
        };
        let hosts: Vec<Mutex<Host>> = (0..scenario.hosts).map(host).collect();
        let places = (0..).zip(&hosts).map(|(place, host)| (locked(host).name.clone(), place)).collect();
        let grids = scenario.zones.iter().map(|_| Mutex::default()).collect();
        Fleet { scenario, hosts, places, grids, started }
    }

    /// What is simulated.
    #[must_use]
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// One tick more of the host at this place.
    pub fn tick(&self, place: usize) {
        locked(&self.hosts[place]).tick(&self.scenario, &|zone, now| self.grid(zone, now));
    }

    /// The state of the host with this name; `None` if there is no such host.
    #[must_use]
    pub fn page(&self, host: &str) -> Option<Arc<Snapshot>> {
        self.snapshot(*self.places.get(host)?)
    }

    /// The state of the host at this place.
    #[must_use]
    pub fn snapshot(&self, place: usize) -> Option<Arc<Snapshot>> {
        locked(&self.hosts[place]).snapshot(&self.scenario)
    }

    /// Every host and its cluster.
    #[must_use]
    pub fn names(&self) -> Vec<(Name, Name)> {
        let name = |host: &Mutex<Host>| {
            let host = locked(host);
            (host.name.clone(), self.scenario.cluster(host.cluster))
        };
        self.hosts.iter().map(name).collect()
    }

    /// Ticks whenever one is due, until `stop` says so or is gone.
    pub fn run(&self, stop: &Receiver<()>) {
        let interval = self.scenario.interval.get();
        let mut base = clock::monotonic().get();
        for place in 0..self.len() {
            self.tick(place);
        }
        loop {
            for number in 0..self.scenario.hosts {
                let due = Nanos::new(base) + turn(&self.scenario, number);
                let wait = due.saturating_sub(clock::monotonic());
                match stop.recv_timeout(Duration::from_nanos(wait.get())) {
                    Err(RecvTimeoutError::Timeout) => self.tick(number as usize),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            base += interval;
            let late = clock::monotonic().get().saturating_sub(base) / interval.max(1);
            if late > MAX_LATE {
                tracing::warn!(intervals = late, "the simulation is late and leaves them out");
                base += late * interval;
            }
        }
    }

    /// What all of it is in truth: hosts by what their meters were made to draw, groups by the accounting.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let mut truth = Truth {
            started_seconds: self.started.get() / 1_000_000_000,
            time_seconds: clock::now().wall.get() / 1_000_000_000,
            organization: Amount::default(),
            clusters: BTreeMap::new(),
            zones: BTreeMap::new(),
            hosts: BTreeMap::new(),
            groups: Vec::new(),
            pending: BTreeMap::new(),
        };
        let mut groups: BTreeMap<(Name, Name, Name), Amount> = BTreeMap::new();
        for host in &self.hosts {
            let mut host = locked(host);
            let cluster = self.scenario.cluster(host.cluster);
            let grid_zone: Name = self.scenario.zones[host.zone].zone.as_str().into();
            let amount = Amount {
                energy_microjoules: host.truth().energy.as_micro().into(),
                emissions_nanograms: host.truth().nanograms().into(),
            };
            truth.organization.add(amount);
            truth.clusters.entry(cluster.clone()).or_default().add(amount);
            truth.zones.entry(grid_zone.clone()).or_default().add(amount);
            if let Some(snapshot) = host.snapshot(&self.scenario) {
                for kind in &snapshot.totals.groups {
                    for (row, group) in kind.groups.iter().enumerate() {
                        let key = (cluster.clone(), kind.kind.clone(), group.name.clone());
                        groups.entry(key).or_default().add(row_of(&snapshot, &kind.table, row));
                    }
                    let pending = row_of(&snapshot, &kind.pending, 0);
                    truth.pending.entry(kind.kind.clone()).or_default().add(pending);
                }
            }
            truth.hosts.insert(host.name.clone(), HostTruth { cluster, grid_zone, amount });
        }
        let group =
            |((cluster, group_kind, group), amount)| GroupTruth { cluster, group_kind, group, amount };
        truth.groups = groups.into_iter().map(group).collect();
        truth
    }

    /// What is known of a zone at a time; made once an hour.
    fn grid(&self, zone: usize, now: Nanos) -> Arc<Grid> {
        let hour = now.get() / HOUR;
        let mut known = self.grids[zone].lock().expect("nothing panics while it makes a plan");
        match &*known {
            Some((of, grid)) if *of == hour => Arc::clone(grid),
            _ => {
                let grid = day::grid(&self.scenario, zone, now);
                *known = Some((hour, Arc::clone(&grid)));
                grid
            }
        }
    }
}

/// One row of a table, over all devices; parts of a device are in its whole.
fn row_of(snapshot: &Snapshot, table: &crate::model::snapshot::Table, row: usize) -> Amount {
    let totals = &snapshot.totals;
    let columns = totals.columns.len().max(1);
    let cells = columns * totals.zones.len().max(1);
    let energies = table.energy.chunks(columns).nth(row).unwrap_or_default();
    let emissions = table.emissions.chunks(cells).nth(row).unwrap_or_default();
    let whole = totals.columns.iter().zip(energies).filter(|(column, _)| column.is_whole());
    let grams = totals.by_zone(emissions).filter(|(_, column, _)| column.is_whole());
    Amount {
        energy_microjoules: whole.map(|(_, energy)| u128::from(energy.as_micro())).sum(),
        emissions_nanograms: grams.map(|(_, _, grams)| u128::from(grams.as_nano())).sum(),
    }
}

/// How long after the start of an interval it is this host's turn: never at once.
fn turn(scenario: &Scenario, number: u32) -> Nanos {
    let part = u128::from(scenario.interval.get()) * (u128::from(number) + 1);
    let part = part / u128::from(scenario.hosts.max(1));
    Nanos::new(u64::try_from(part).unwrap_or(scenario.interval.get()))
}

fn locked(host: &Mutex<Host>) -> MutexGuard<'_, Host> {
    host.lock().expect("a host that panics in its tick is a defect that nothing mends")
}
