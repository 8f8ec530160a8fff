//! Idle powers by processor model and device: they describe the hardware, and so outlive boots, damage
//! elsewhere in the file, and counters that begin anew.

use super::digest::Fields;
use super::trouble::Failure;
use crate::model::checkpoint::Checkpoint;
use crate::model::identity::Name;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Count and sum of µW in each bucket.
pub type Buckets = Arc<[(u64, u128)]>;

/// A cluster node meets a few processors and GPUs in its life; beyond this, new ones are not kept.
const MAX_FLOORS: usize = 1024;

/// The floors that the file holds.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<Name, (Buckets, i64)>);

impl Floors {
    /// Reads them. A damaged one is left out and learnt anew: it only divides energy to come.
    pub(super) fn read(sql: &Connection) -> Result<Floors, Failure> {
        let mut floors = HashMap::new();
        let mut select = sql.prepare("SELECT key, body, digest FROM floor")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (key, body, digest): (Name, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Ok(buckets) = serde_json::from_str::<Buckets>(&body) else { continue };
            if digest_of(&key, &buckets) == digest {
                floors.insert(key, (buckets, digest));
            }
        }
        Ok(Floors(floors))
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(Name, Buckets)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(key, (buckets, _))| (key.clone(), buckets.clone())).collect();
        all.sort_unstable();
        all
    }

    /// Gives each domain of a restored checkpoint its own.
    pub(super) fn fill(&self, checkpoint: &mut Checkpoint) {
        let machine = Arc::clone(&checkpoint.machine);
        for (domain, position) in machine.domains.iter().zip(&mut checkpoint.domains) {
            if let Some((buckets, _)) =
                self.0.get(key(&machine.cpu_model, &domain.id, &domain.source).as_str())
            {
                position.floor = Arc::clone(buckets);
            }
        }
    }

    /// Writes those that changed, and returns them to be learnt after the commit.
    pub(super) fn write(&self, checkpoint: &Checkpoint, sql: &Connection) -> Result<Floors, Failure> {
        let mut changed = HashMap::new();
        let machine = &checkpoint.machine;
        for (domain, position) in machine.domains.iter().zip(&checkpoint.domains) {
            if position.floor.is_empty() {
                continue;
            }
            let key = key(&machine.cpu_model, &domain.id, &domain.source);
            let known = self.0.get(key.as_str());
            if known.is_some_and(|(buckets, _)| Arc::ptr_eq(buckets, &position.floor)) {
                continue;
            }
            let digest = digest_of(&key, &position.floor);
            if known.is_some_and(|(_, known)| *known == digest)
                || known.is_none() && self.0.len() + changed.len() >= MAX_FLOORS
            {
                continue;
            }
            write(&key, &position.floor, digest, sql)?;
            changed.insert(Name::from(key), (Arc::clone(&position.floor), digest));
        }
        Ok(Floors(changed))
    }

    /// Writes all of them, to a file that has none.
    pub(super) fn write_all(&self, sql: &Connection) -> Result<(), Failure> {
        for (key, (buckets, digest)) in &self.0 {
            write(key, buckets, *digest, sql)?;
        }
        Ok(())
    }

    /// What was written has been committed.
    pub(super) fn learn(&mut self, changed: Floors) {
        self.0.extend(changed.0);
    }
}

fn write(key: &str, buckets: &Buckets, digest: i64, sql: &Connection) -> Result<(), Failure> {
    let mut replace = sql.prepare_cached("REPLACE INTO floor(key, body, digest) VALUES (?1, ?2, ?3)")?;
    replace.execute(params![key, serde_json::to_string(buckets)?, digest])?;
    Ok(())
}

/// What a floor belongs to: see [`super::Restored::floors`].
fn key(cpu_model: &str, hw_id: &str, source: &str) -> String {
    format!("{cpu_model}|{hw_id}|{source}")
}

fn digest_of(key: &str, buckets: &[(u64, u128)]) -> i64 {
    let mut packed = Vec::with_capacity(buckets.len() * 24);
    for (count, sum) in buckets {
        packed.extend_from_slice(&count.to_le_bytes());
        packed.extend_from_slice(&sum.to_le_bytes());
    }
    Fields::of("floor").text(key).bytes(&packed).digest()
}
