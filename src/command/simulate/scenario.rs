//! What is simulated: how many of what, and what they are called. Everything else follows from the seed.

use crate::carbon::table;
use crate::carbon::table::Row;
use crate::clock::Jitter;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use xxhash_rust::xxh3::xxh3_64;

/// What clusters are called; from the last one on they have numbers.
const CLUSTERS: [&str; 6] = ["north", "hpc", "east", "render", "edge", "lab"];

/// What teams are called; from the last one on they have numbers.
const TEAMS: [&str; 10] = [
    "search",
    "payments",
    "platform",
    "vision",
    "genomics",
    "climate",
    "mobile",
    "billing",
    "logistics",
    "security",
];

/// A fleet.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Hosts in all.
    pub hosts: u32,
    /// Jobs that live on each host at a time.
    pub jobs: u32,
    /// Accelerators of every fourth host.
    pub gpus: u32,
    /// Grid zones, over which the clusters are spread.
    pub zones: Vec<Row>,
    /// Clusters: every second one runs Slurm, the others Kubernetes.
    pub clusters: u32,
    /// Teams, large and small.
    pub teams: u32,
    /// The same seed, the same fleet.
    pub seed: u64,
    /// Between two ticks of a host, in real time.
    pub interval: Nanos,
    /// How often the pages are read, in real time: new groups are shown at 0 for long enough.
    pub hint: Nanos,
    /// How many times faster than the real ones the hosts' clocks run.
    pub speed: u32,
    /// For so long after the start nothing draws anything, in real time.
    pub starts_after: Nanos,
    /// And from then on nothing any more.
    pub stops_after: Option<Nanos>,
}

/// A zone that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("--zones: {0}")]
pub struct ZoneError(#[from] crate::carbon::ChoiceError);

/// The rows of the table that these zones have.
///
/// # Errors
/// One of them has none.
pub fn zones(names: &[String]) -> Result<Vec<Row>, ZoneError> {
    names.iter().map(|name| table::find(name, None).map_err(ZoneError)).collect()
}

impl Scenario {
    /// Between two ticks of a host, by its own clock.
    #[must_use]
    pub fn step(&self) -> Nanos {
        self.stretched(self.interval)
    }

    /// How long a new group is shown at 0, by the hosts' clocks: as the exporter has it, two scrapes and a tick.
    #[must_use]
    pub fn hold(&self) -> Nanos {
        self.stretched(Nanos::new(self.hint.get() * 2 + self.interval.get()))
    }

    /// How long ended jobs stay on the page, by the hosts' clocks: as the exporter has it.
    #[must_use]
    pub fn retention(&self) -> Nanos {
        let seconds = Nanos::from_seconds(300).max(Nanos::new(self.hint.get() * 3));
        self.stretched(seconds)
    }

    /// Whether the machines are at rest over the interval that the tick with this number ends.
    #[must_use]
    pub fn is_at_rest(&self, tick: u64) -> bool {
        let number = |time: Nanos| time.get().div_ceil(self.interval.get().max(1));
        tick <= number(self.starts_after) || self.stops_after.is_some_and(|end| tick > number(end))
    }

    /// Chance for one thing, named by words and numbers: the same whatever else is rolled for.
    #[must_use]
    pub fn chance(&self, what: &str, number: u64) -> Jitter {
        let mut key = what.as_bytes().to_vec();
        key.extend_from_slice(&self.seed.to_le_bytes());
        key.extend_from_slice(&number.to_le_bytes());
        Jitter::from_seed(xxh3_64(&key))
    }

    /// The name of the cluster at this place.
    #[must_use]
    pub fn cluster(&self, place: u32) -> Name {
        numbered(&CLUSTERS, "cluster", place)
    }

    /// The name of the team at this place.
    #[must_use]
    pub fn team(&self, place: u32) -> Name {
        numbered(&TEAMS, "team", place)
    }

    /// Where the host with this number stands: its cluster and its zone, by their places.
    #[must_use]
    pub fn place(&self, host: u32) -> (u32, usize) {
        let zones = self.zones.len().max(1);
        let cluster = host % self.clusters.max(1);
        // Fewer clusters than zones: each is spread over several.
        let spread = zones.div_ceil(self.clusters.max(1) as usize);
        let of_cluster = (host / self.clusters.max(1)) as usize % spread;
        (cluster, (cluster as usize + of_cluster * self.clusters as usize) % zones)
    }

    /// Whether the cluster at this place runs Slurm.
    #[must_use]
    pub const fn is_slurm(cluster: u32) -> bool {
        cluster % 2 == 1
    }

    /// What the host with this number is called.
    #[must_use]
    pub fn host(&self, number: u32) -> Name {
        let (cluster, _) = self.place(number);
        format!("{}-{:04}", self.cluster(cluster), number / self.clusters.max(1) + 1).into()
    }

    fn stretched(&self, time: Nanos) -> Nanos {
        Nanos::new(time.get().saturating_mul(u64::from(self.speed)))
    }
}

fn numbered(names: &[&str], what: &str, place: u32) -> Name {
    match names.get(place as usize) {
        Some(name) => (*name).into(),
        None => format!("{what}-{}", place + 1).into(),
    }
}
