//! Reports for people: one aligned table in one unit, as wide as the terminal at most.

use super::amount::{Amount, Unit, duration, intensity, minute};
use super::plain::state;
use super::question::{Field, Key, Question};
use super::tally::{Lives, Place, Row, Tally};
use crate::job::passwd::Users;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Before ids are cut shorter than this, other columns are left out: a UID's first group and its end
/// still tell pods apart.
const GOOD_ID: usize = 14;

/// An id is never cut shorter than this.
const MIN_ID: usize = 8;

/// Between columns.
const GAP: usize = 2;

/// One column: its head, how it is aligned, and what a row has there.
struct Column<'a> {
    head: String,
    kind: Kind,
    side: CellAlignment,
    write: Box<dyn Fn(&Row) -> String + 'a>,
}

/// What a column may do to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text that stays as it is.
    Name,
    /// Text that may be cut.
    Id,
    /// A number.
    Number,
    /// What can be left out where it is narrow, the lowest first.
    Extra(u8),
}

/// The table, up to `width` characters wide; without a width as wide as it gets.
#[must_use]
pub fn table(tally: &Tally, question: &Question, users: &Users, width: Option<usize>) -> String {
    let mut columns = columns(tally, question, users);
    let mut lines = written(&columns, tally);
    if let Some(width) = width {
        let extra = |columns: &[Column<'_>]| {
            let of_kind = |(at, column): (usize, &Column<'_>)| match column.kind {
                Kind::Extra(order) => Some((order, at)),
                Kind::Name | Kind::Id | Kind::Number => None,
            };
            columns.iter().enumerate().filter_map(of_kind).min()
        };
        while natural(&columns, &lines, true) > width {
            let Some((_, at)) = extra(&columns) else { break };
            columns.remove(at);
            lines.iter_mut().for_each(|line| drop(line.remove(at)));
        }
        shorten(&columns, &mut lines, width);
    }
    draw(&columns, lines, width)
}

/// The rows, what a limit left out, and the total, as text.
fn written(columns: &[Column<'_>], tally: &Tally) -> Vec<Vec<String>> {
    let line = |row: &Row| columns.iter().map(|column| (column.write)(row)).collect();
    let mut lines: Vec<Vec<String>> = tally.rows.iter().map(line).collect();
    let more = tally.more.as_ref().map(|(count, more)| (format!("{count} more"), more));
    for (name, row) in more.into_iter().chain([("total".to_owned(), &tally.total)]) {
        let mut closing = line(row);
        // The first column is always one that tells rows apart.
        closing[0] = name;
        lines.push(closing);
    }
    lines
}

fn columns<'a>(tally: &'a Tally, question: &'a Question, users: &'a Users) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for (at, field) in tally.fields.iter().enumerate() {
        if is_worth_showing(at, *field, tally, question) {
            let kind = if *field == Field::JobId { Kind::Id } else { Kind::Name };
            let write = move |row: &Row| text(row, at, *field, users);
            let head = head(*field).to_owned();
            columns.push(Column { head, kind, side: CellAlignment::Left, write: Box::new(write) });
        }
    }
    if tally.has_jobs {
        columns.extend((!question.has(Key::Job)).then(count));
        columns.extend(lives());
    }
    columns.extend(amounts(tally));
    columns
}

/// How many jobs a row is.
fn count<'a>() -> Column<'a> {
    let write = |row: &Row| row.jobs.as_ref().map(|lives| lives.count.to_string()).unwrap_or_default();
    Column { head: "jobs".to_owned(), kind: Kind::Number, side: CellAlignment::Right, write: Box::new(write) }
}

/// What is known of jobs beside what they used; sums of jobs have no times.
fn lives<'a>() -> [Column<'a>; 4] {
    fn seen(row: &Row) -> Option<&Lives> {
        row.jobs
            .as_ref()
            .filter(|lives| lives.count == 1 && row.place == Place::Ordinary && !row.cells.is_empty())
    }
    let column = |head: &str, side, order, write: fn(&Row) -> String| Column {
        head: head.to_owned(),
        kind: Kind::Extra(order),
        side,
        write: Box::new(write),
    };
    let (left, right) = (CellAlignment::Left, CellAlignment::Right);
    [
        column("state", left, 3, |row| {
            state(row).filter(|state| *state != "none").unwrap_or_default().to_owned()
        }),
        column("first seen", left, 0, |row| {
            seen(row).map(|lives| minute(lives.first_seen)).unwrap_or_default()
        }),
        column("lasted", right, 2, |row| {
            let lasted = |lives: &Lives| duration(lives.last_seen.saturating_sub(lives.first_seen));
            seen(row).map(lasted).unwrap_or_default()
        }),
        column("CPU s", right, 1, |row| row.jobs.as_ref().map(|lives| tenths(lives.cpu)).unwrap_or_default()),
    ]
}

/// Energy and emissions, of the origins that occur; if none does, of the measured.
fn amounts<'a>(tally: &Tally) -> Vec<Column<'a>> {
    type Part = fn(&Row) -> &Amount;
    let origins: [(&str, Part); 2] = [("measured", |row| &row.measured), ("estimated", |row| &row.estimated)];
    let occurs = |part: &Part| !part(&tally.total).is_missing();
    let mut shown: Vec<(&str, Part)> = origins.into_iter().filter(|(_, part)| occurs(part)).collect();
    if shown.is_empty() {
        shown.push(origins[0]);
    }
    let largest = |of: fn(&Amount) -> Option<u128>| {
        shown.iter().filter_map(|(_, part)| of(part(&tally.total))).max().unwrap_or(0)
    };
    let energy = Unit::of_energy(largest(|amount| amount.energy));
    let grams = Unit::of_emissions(largest(|amount| amount.emissions));
    let write =
        move |unit: Unit, value: Option<u128>| value.map_or("-".to_owned(), |value| unit.write(value));
    let number = |head: String, write: Box<dyn Fn(&Row) -> String + 'a>| Column {
        head,
        kind: Kind::Number,
        side: CellAlignment::Right,
        write,
    };
    let mut columns = Vec::new();
    for (origin, part) in shown.iter().copied() {
        let head = format!("{}\n{origin}", energy.name);
        columns.push(number(head, Box::new(move |row| write(energy, part(row).energy))));
    }
    for (origin, part) in shown {
        let head = format!("{}\n{origin}", grams.name);
        columns.push(number(head, Box::new(move |row| write(grams, part(row).emissions))));
    }
    let per = |row: &Row| intensity([&row.measured, &row.estimated]);
    let tenth = |milligrams: u128| decimal_tenths((milligrams + 50) / 100);
    columns.push(number("g/kWh".to_owned(), Box::new(move |row| per(row).map_or("-".to_owned(), tenth))));
    columns
}

/// What was not asked for and is the same everywhere says nothing.
fn is_worth_showing(at: usize, field: Field, tally: &Tally, question: &Question) -> bool {
    let is_asked = match field {
        Field::Host => question.has(Key::Host),
        Field::User => question.has(Key::User),
        Field::Gpu | Field::GroupKind => false,
        Field::Day | Field::Hour | Field::Zone | Field::Kind | Field::JobKind => true,
        Field::JobId | Field::Phase | Field::Group | Field::Hardware => true,
        Field::Attribute(_) | Field::Label(_) => true,
    };
    // Only jobs have users, but whatever has a row has a host.
    let counts = |row: &&Row| field == Field::Host || row.place == Place::Ordinary;
    let mut values = tally.rows.iter().filter(counts).map(|row| &row.cells[at]);
    let first = values.next();
    is_asked || values.any(|value| Some(value) != first)
}

const fn head(field: Field) -> &'static str {
    match field {
        Field::JobKind => "kind",
        Field::JobId => "job",
        Field::Hardware => "hardware",
        Field::GroupKind => "by",
        other => other.name(),
    }
}

fn text(row: &Row, at: usize, field: Field, users: &Users) -> String {
    let value = row.cells.get(at).map_or("", |cell| &**cell);
    let count = row.jobs.as_ref().map_or(0, |lives| lives.count);
    match (field, row.place) {
        (Field::JobKind, Place::Folded) => "folded".to_owned(),
        (Field::JobId, Place::Folded) => format!("{count} older jobs"),
        (Field::JobKind, Place::NoJob) => "-".to_owned(),
        (Field::JobId, Place::NoJob) => "charged to no job".to_owned(),
        (Field::Phase | Field::Attribute(_) | Field::Label(_), Place::Folded) if at == 0 => {
            format!("{count} older jobs")
        }
        (Field::Phase | Field::Attribute(_) | Field::Label(_), Place::NoJob) if at == 0 => {
            "charged to no job".to_owned()
        }
        // A line of sums is not a host or a job.
        (_, Place::Ordinary) if row.cells.is_empty() => String::new(),
        (Field::Phase, Place::Ordinary) if value.is_empty() => "(in no phase)".to_owned(),
        (Field::User, _) if value.is_empty() => "-".to_owned(),
        (Field::User, _) => users.name(value),
        (Field::Hour, _) => value.replacen('T', " ", 1).replace(":00Z", ""),
        (Field::Zone | Field::Group | Field::Attribute(_) | Field::Label(_), _) if value.is_empty() => {
            "-".to_owned()
        }
        _ => value.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect(),
    }
}

/// CPU seconds to the tenth, half up.
fn tenths(nanoseconds: u128) -> String {
    decimal_tenths((nanoseconds + 50_000_000) / 100_000_000)
}

fn decimal_tenths(tenths: u128) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// How wide the lines are, as they are or with ids cut as short as they get.
fn natural(columns: &[Column<'_>], lines: &[Vec<String>], is_cut: bool) -> usize {
    let wide = |(at, column): (usize, &Column<'_>)| {
        let wide = wide(at, column, lines);
        if is_cut && column.kind == Kind::Id { wide.min(GOOD_ID) } else { wide }
    };
    let gaps = GAP * columns.len().saturating_sub(1);
    columns.iter().enumerate().map(wide).sum::<usize>() + gaps
}

fn wide(at: usize, column: &Column<'_>, lines: &[Vec<String>]) -> usize {
    let cells = lines.iter().map(|line| line[at].chars().count());
    cells.chain(column.head.lines().map(|line| line.chars().count())).max().unwrap_or(0)
}

/// Cuts ids in their middle until the lines fit.
fn shorten(columns: &[Column<'_>], lines: &mut [Vec<String>], width: usize) {
    let over = natural(columns, lines, false).saturating_sub(width);
    let Some(at) = columns.iter().position(|column| column.kind == Kind::Id) else { return };
    let room = wide(at, &columns[at], lines).saturating_sub(over).max(MIN_ID);
    for line in lines {
        let id: Vec<char> = line[at].chars().collect();
        if id.len() > room {
            let tail = (room - 1) / 3;
            let head: String = id[..room - 1 - tail].iter().collect();
            let tail: String = id[id.len() - tail..].iter().collect();
            line[at] = format!("{head}…{tail}");
        }
    }
}

/// A table of texts, the first column cut where there is not enough room.
#[must_use]
pub fn fitted(heads: &[(&str, CellAlignment)], mut lines: Vec<Vec<String>>, width: Option<usize>) -> String {
    let column = |(at, (head, side)): (usize, &(&str, CellAlignment))| Column {
        head: (*head).to_owned(),
        kind: if at == 0 { Kind::Id } else { Kind::Number },
        side: *side,
        write: Box::new(|_: &Row| String::new()),
    };
    let columns: Vec<Column<'_>> = heads.iter().enumerate().map(column).collect();
    if let Some(width) = width {
        shorten(&columns, &mut lines, width);
    }
    draw(&columns, lines, width)
}

fn draw(columns: &[Column<'_>], lines: Vec<Vec<String>>, width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let is_too_wide = width.is_some_and(|width| natural(columns, &lines, false) > width);
    // The last resort: lines are broken within their cells, rather than anywhere by the terminal.
    if let Some(width) = width.and_then(|width| u16::try_from(width).ok()).filter(|_| is_too_wide) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(columns.iter().map(|column| column.head.as_str()));
    table.add_rows(lines);
    let gap = u16::try_from(GAP).expect("a small gap");
    for (at, column) in columns.iter().enumerate() {
        if let Some(drawn) = table.column_mut(at) {
            drawn.set_padding((0, if at + 1 == columns.len() { 0 } else { gap }));
            drawn.set_cell_alignment(column.side);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
