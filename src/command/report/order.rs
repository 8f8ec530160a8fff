//! The order of rows, and how many are shown.

use super::question::{Key, Question};
use super::tally::{Place, Row, Tally};
use clap::ValueEnum;
use std::cmp::Reverse;

/// By what rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most energy first; measured and estimated count alike here
    Energy,
    /// Most emissions first
    Emissions,
    /// Days and hours as they came, jobs the newest first
    Time,
    /// By the alphabet
    Name,
}

impl Sort {
    /// What a reader of these keys expects.
    #[must_use]
    pub fn for_question(question: &Question) -> Sort {
        if question.has(Key::Day) || question.has(Key::Hour) { Sort::Time } else { Sort::Energy }
    }
}

/// Puts the rows in order and keeps `limit` of the ordinary ones; what is left out is summed up.
pub fn arrange(tally: &mut Tally, sort: Sort, limit: Option<usize>) {
    let energy = |row: &Row| row.measured.energy.unwrap_or(0) + row.estimated.energy.unwrap_or(0);
    let emissions = |row: &Row| row.measured.emissions.unwrap_or(0) + row.estimated.emissions.unwrap_or(0);
    // The last word is the names', so that the same past gives the same report.
    tally.rows.sort_by(|one, other| one.cells.cmp(&other.cells));
    match sort {
        Sort::Energy => tally.rows.sort_by_key(|row| (row.place, Reverse(energy(row)))),
        Sort::Emissions => tally.rows.sort_by_key(|row| (row.place, Reverse(emissions(row)))),
        Sort::Time if tally.has_jobs => tally.rows.sort_by_key(|row| (row.place, Reverse(row.start))),
        Sort::Time => tally.rows.sort_by_key(|row| (row.place, row.start)),
        Sort::Name => tally.rows.sort_by_key(|row| row.place),
    }
    let ordinary = tally.rows.iter().filter(|row| row.place == Place::Ordinary).count();
    let Some(limit) = limit.filter(|limit| *limit < ordinary) else { return };
    let mut sum = Row::default();
    tally.rows.drain(limit..ordinary).for_each(|row| sum.absorb(&row));
    tally.more = Some((ordinary - limit, sum));
}
