//! Groups of jobs as rows, and back.

use super::{Known, News};
use crate::model::groups::{GroupKindPosition, GroupState, GroupsPosition};
use crate::model::identity::Name;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot;
use crate::store::head::State;
use crate::store::image::{Image, Table, numbers, put};
use crate::store::trouble::Failure;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Numbers for each kind; more than it can have groups.
const GROUPS_PER_KIND: i64 = 1 << 16;

/// A row of [`Table::GroupKind`].
#[derive(Debug, Serialize, Deserialize)]
struct KindRow {
    kind: Name,
    is_shown: bool,
    since: Nanos,
    overflowed: u64,
}

impl Known {
    /// The rows of the kinds and their groups.
    pub(super) fn push_groups(
        &self,
        groups: &GroupsPosition,
        last: &Image,
        image: &mut Image,
        news: &mut News,
    ) -> Result<(), Failure> {
        for (number, kind) in (0..).zip(&groups.kinds) {
            let row = KindRow {
                kind: Arc::clone(&kind.kind),
                is_shown: kind.is_shown,
                since: kind.since,
                overflowed: kind.overflowed,
            };
            image.push(Table::GroupKind, number, |bytes| serde_json::to_writer(bytes, &row))?;
            for (place, state) in (0..GROUPS_PER_KIND).zip(&kind.groups) {
                let id = number * GROUPS_PER_KIND + place;
                self.push_state(id, state, last, image, news)?;
                image.push(Table::GroupLive, id, |bytes| {
                    put_group(bytes, kind, usize::try_from(place).unwrap_or_default());
                    Ok::<_, Failure>(())
                })?;
            }
        }
        Ok(())
    }

    fn push_state(
        &self,
        id: i64,
        state: &Arc<GroupState>,
        last: &Image,
        image: &mut Image,
        news: &mut News,
    ) -> Result<(), Failure> {
        let is_known = self.states.get(&id).is_some_and(|known| Arc::ptr_eq(known, state));
        if is_known && image.push_from(last, Table::GroupName, id) {
            return Ok(());
        }
        image.push(Table::GroupName, id, |bytes| serde_json::to_writer(bytes, &**state))?;
        news.states.push((id, Arc::clone(state)));
        Ok(())
    }
}

/// What a group shows, and what it is owed unless that is nothing, as for most.
fn put_group(bytes: &mut Vec<u8>, kind: &GroupKindPosition, place: usize) {
    let (shown, owed) = (row(&kind.shown, kind, place), row(&kind.owed, kind, place));
    let put_row = |bytes: &mut Vec<u8>, (energy, emissions): (&[Energy], &[Emissions])| {
        energy.iter().for_each(|energy| put(bytes, energy.as_micro()));
        emissions.iter().for_each(|grams| put(bytes, grams.as_nano()));
    };
    put_row(bytes, shown);
    let is_owed = owed.0.iter().any(|energy| *energy > Energy::ZERO)
        || owed.1.iter().any(|grams| *grams > Emissions::ZERO);
    if is_owed {
        put_row(bytes, owed);
    }
}

fn row<'a>(
    table: &'a snapshot::Table,
    kind: &GroupKindPosition,
    place: usize,
) -> (&'a [Energy], &'a [Emissions]) {
    let columns = table.energy.len() / kind.groups.len();
    let cells = table.emissions.len() / kind.groups.len();
    (&table.energy[place * columns..][..columns], &table.emissions[place * cells..][..cells])
}

/// The groups that were written as these rows, without the jobs' standings.
pub(super) fn restore(image: &Image, state: &State, known: &mut Known) -> Result<GroupsPosition, Failure> {
    let mut groups = GroupsPosition { clock: state.groups_clock, ..GroupsPosition::default() };
    for (number, (id, body)) in (0..).zip(image.table(Table::GroupKind)) {
        let row: KindRow = serde_json::from_slice(body)?;
        if id != number {
            return Err(Failure::Malformed(format!("group kind {number} is missing")));
        }
        groups.kinds.push(GroupKindPosition {
            kind: row.kind,
            is_shown: row.is_shown,
            since: row.since,
            overflowed: row.overflowed,
            ..GroupKindPosition::default()
        });
    }
    for (id, body) in image.table(Table::GroupName) {
        let missing = || Failure::Malformed(format!("group {id} does not fit the others"));
        let kind = usize::try_from(id / GROUPS_PER_KIND).ok();
        let kind = kind.and_then(|kind| groups.kinds.get_mut(kind)).ok_or_else(missing)?;
        let place = i64::try_from(kind.groups.len()).unwrap_or_default();
        let group: Arc<GroupState> = Arc::new(serde_json::from_slice(body)?);
        if id % GROUPS_PER_KIND != place || group.opens.len() != state.columns.len() {
            return Err(missing());
        }
        known.states.insert(id, Arc::clone(&group));
        kind.groups.push(group);
        restore_row(image, state, id, kind)?;
    }
    Ok(groups)
}

fn restore_row(image: &Image, state: &State, id: i64, kind: &mut GroupKindPosition) -> Result<(), Failure> {
    let (columns, cells) = (state.columns.len(), state.columns.len() * state.zones.len());
    let mut rest = numbers(image.get(Table::GroupLive, id).unwrap_or_default())?;
    let is_owed = rest.len() == 2 * (columns + cells) && rest.len() > 0;
    if !is_owed && rest.len() != columns + cells {
        return Err(Failure::Malformed(format!("group {id} has {} cells", rest.len())));
    }
    for table in [&mut kind.shown, &mut kind.owed] {
        // Behind the last number there is nothing, and nothing is owed.
        let mut next = || rest.next().unwrap_or_default();
        table.energy.extend((0..columns).map(|_| Energy::from_micro(next())));
        table.emissions.extend((0..cells).map(|_| Emissions::from_nano(next())));
    }
    Ok(())
}
