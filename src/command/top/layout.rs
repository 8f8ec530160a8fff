//! What of the screen there is room for: which lines, and which columns of the table.

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// By what people know it.
    Name,
    /// What kind of job it is.
    Kind,
    /// What it draws.
    Watts,
    /// That, as a part of what the host draws.
    Share,
    /// What of it its accelerators draw.
    Gpu,
    /// What that emits in an hour.
    Rate,
    /// All that it has used.
    Energy,
    /// All that it has emitted.
    Grams,
    /// How far it has come.
    Done,
    /// When it ends.
    Ends,
    /// What it will have emitted by then.
    Total,
}

impl Field {
    /// In the order of the screen.
    const ALL: [Field; 11] = [
        Field::Name,
        Field::Kind,
        Field::Watts,
        Field::Share,
        Field::Gpu,
        Field::Rate,
        Field::Energy,
        Field::Grams,
        Field::Done,
        Field::Ends,
        Field::Total,
    ];

    /// Where there is not enough room, the last of these go first.
    const BY_WORTH: [Field; 10] = [
        Field::Watts,
        Field::Done,
        Field::Rate,
        Field::Energy,
        Field::Gpu,
        Field::Ends,
        Field::Grams,
        Field::Total,
        Field::Kind,
        Field::Share,
    ];

    /// What stands above it.
    #[must_use]
    pub const fn head(self) -> &'static str {
        match self {
            Field::Name => "job",
            Field::Kind => "kind",
            Field::Watts => "W",
            Field::Share => "share",
            Field::Gpu => "GPU W",
            Field::Rate => "g/h",
            Field::Energy => "energy",
            Field::Grams => "CO2e",
            Field::Done => "done",
            Field::Ends => "ends",
            Field::Total => "CO2e then",
        }
    }

    /// What its longest figure needs.
    const fn width(self) -> u16 {
        match self {
            Field::Name => MIN_NAME,
            Field::Kind | Field::Total => 9,
            Field::Watts | Field::Gpu => 7,
            Field::Share | Field::Ends | Field::Done => 5,
            Field::Rate => 6,
            Field::Energy => 8,
            Field::Grams => 7,
        }
    }

    /// Figures stand under each other by their last digit.
    #[must_use]
    pub const fn is_number(self) -> bool {
        !matches!(self, Field::Name | Field::Kind | Field::Share)
    }
}

/// Less of a name says nothing.
const MIN_NAME: u16 = 14;

/// More of a name is mostly an id.
const MAX_NAME: u16 = 56;

/// A longer bar says no more.
const MAX_BAR: u16 = 40;

/// Below that only what the host draws is said of it.
const FULL_HEIGHT: u16 = 12;

/// What there is to show at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Present {
    /// Some job has an accelerator.
    pub has_gpus: bool,
    /// Some job says how far it has come.
    pub has_progress: bool,
    /// Of some job it is known what it will come to.
    pub has_predictions: bool,
}

/// A column and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What it shows.
    pub field: Field,
    /// Where it begins.
    pub x: u16,
    /// How wide it is.
    pub width: u16,
}

/// The columns that fit into `width`: names and watts always.
#[must_use]
pub fn columns(width: u16, present: Present) -> Vec<Column> {
    let is_there = |field: &Field| match field {
        Field::Gpu => present.has_gpus,
        Field::Done => present.has_progress,
        Field::Ends | Field::Total => present.has_predictions,
        _ => true,
    };
    let mut shown = vec![Field::Name];
    let mut used = MIN_NAME.min(width);
    for field in Field::BY_WORTH.into_iter().filter(is_there) {
        let needed = used + 1 + field.width();
        if needed > width && field != Field::Watts {
            // Nothing of less worth takes the room: a column that comes and goes with the width is a puzzle.
            break;
        }
        used = needed;
        shown.push(field);
    }
    // What is over goes to the names, then to the gaps, then to the bars.
    let mut spare = width.saturating_sub(used);
    let mut take = |most: u16| {
        let taken = spare.min(most);
        spare -= taken;
        taken
    };
    let name = MIN_NAME.min(width) + take(MAX_NAME - MIN_NAME);
    let gaps = u16::try_from(shown.len() - 1).unwrap_or(0);
    let gap = if take(gaps) == gaps { 2 } else { 1 };
    let bar = Field::Share.width() + if shown.contains(&Field::Share) { take(MAX_BAR) } else { 0 };
    let mut x = 0_u16;
    let mut columns = Vec::with_capacity(shown.len());
    for field in Field::ALL.into_iter().filter(|field| shown.contains(field)) {
        let wide = match field {
            // On the narrowest screens the watts come first, and the name has the rest.
            Field::Name => name.min(width.saturating_sub(Field::Watts.width() + 1)),
            Field::Share => bar,
            _ => field.width(),
        };
        columns.push(Column { field, x, width: wide });
        x = x.saturating_add(wide + gap);
    }
    columns
}

/// Which line of the screen is for what; a line that is not there is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// What the host does.
    pub summary: Option<u16>,
    /// By which intensity.
    pub grid: Option<u16>,
    /// What is not as it should be.
    pub notice: Option<u16>,
    /// What the columns are.
    pub head: Option<u16>,
    /// The first of those that are no jobs.
    pub rest: u16,
    /// How many of them.
    pub rests: u16,
    /// The first job.
    pub table: u16,
    /// How many jobs.
    pub rows: u16,
    /// What the keys do.
    pub foot: Option<u16>,
}

/// The lines of a screen of this height, where `rests` lines are no jobs'.
#[must_use]
pub fn lines(height: u16, rests: usize, has_notice: bool, is_typing: bool) -> Lines {
    let rests = u16::try_from(rests).unwrap_or(u16::MAX);
    let is_full = height >= FULL_HEIGHT;
    let mut next = 0;
    let mut line = |is_there: bool| {
        let at = (is_there && next < height).then_some(next);
        next += u16::from(at.is_some());
        at
    };
    // Where there is little room, what is wrong takes the place of what is so.
    let summary = line(is_full || !has_notice);
    let grid = line(is_full);
    let notice = line(is_full || has_notice);
    let head = line(height >= 4);
    let foot = height.checked_sub(1).filter(|foot| (height >= 7 || is_typing) && *foot >= next);
    let end = foot.unwrap_or(height);
    // At least half of what is left is for jobs.
    let left = end.saturating_sub(next);
    let rests = if is_full { rests.min(left / 2) } else { 0 };
    let table = next + rests;
    Lines { summary, grid, notice, head, rest: next, rests, table, rows: end.saturating_sub(table), foot }
}

/// The first row that is shown, so that the `cursor` is, and no room is left while there are rows.
#[must_use]
pub fn scrolled(first: usize, cursor: usize, rows: usize, count: usize) -> usize {
    let first = first.min(cursor).max((cursor + 1).saturating_sub(rows));
    first.min(count.saturating_sub(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_never_overlap_nor_leave_the_screen() {
        for width in 1..300 {
            for bits in 0..8 {
                let [has_gpus, has_progress, has_predictions] = [1, 2, 4].map(|bit| bits & bit != 0);
                let columns = columns(width, Present { has_gpus, has_progress, has_predictions });
                for pair in columns.windows(2) {
                    assert!(pair[0].x + pair[0].width < pair[1].x, "{width}: {columns:?}");
                }
                let last = columns.last().expect("a column");
                assert!(width < 8 || last.x + last.width <= width, "{width}: {columns:?}");
                assert!(columns.iter().any(|column| column.field == Field::Watts));
            }
        }
    }

    #[test]
    fn the_usual_screen_has_room_for_what_matters() {
        let shown = |width, has_all| {
            let present = Present { has_gpus: has_all, has_progress: has_all, has_predictions: has_all };
            columns(width, present).into_iter().map(|column| column.field).collect::<Vec<_>>()
        };
        use Field::*;
        assert_eq!(shown(80, false), [Name, Kind, Watts, Share, Rate, Energy, Grams]);
        assert_eq!(shown(80, true), [Name, Watts, Gpu, Rate, Energy, Grams, Done, Ends, Total]);
        assert_eq!(shown(160, true), Field::ALL);
        assert_eq!(shown(20, true), [Name, Watts]);
    }

    #[test]
    fn every_line_of_a_screen_has_one_purpose() {
        for height in 0..60 {
            for rests in 0..8 {
                for (has_notice, is_typing) in [(false, false), (true, false), (false, true), (true, true)] {
                    let lines = lines(height, rests, has_notice, is_typing);
                    let ones = [lines.summary, lines.grid, lines.notice, lines.head, lines.foot];
                    let mut used: Vec<u16> = ones.into_iter().flatten().collect();
                    used.extend(lines.rest..lines.rest + lines.rests);
                    used.extend(lines.table..lines.table + lines.rows);
                    used.sort_unstable();
                    assert_eq!(used, (0..height).collect::<Vec<_>>(), "{height} {lines:?}");
                }
            }
        }
    }

    #[test]
    fn the_cursor_is_always_on_the_screen() {
        for (first, cursor, rows, count, expected) in [
            (0, 0, 5, 3, 0),
            (0, 7, 5, 10, 3),
            (6, 2, 5, 10, 2),
            (9, 9, 5, 10, 5),
            (4, 0, 0, 0, 0),
            (8, 3, 5, 4, 0),
        ] {
            assert_eq!(scrolled(first, cursor, rows, count), expected);
        }
    }
}
