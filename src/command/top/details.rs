//! All that is known of one job.

use super::draw::{Page, bar, bold, notice, quiet, summary, width};
use super::history::Who;
use super::text;
use super::view::{Row, View};
use crate::command::now::{Energy, Job, Now, Prediction, Quantiles, printable};
use ratatui::buffer::CellWidth;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Sparkline, Widget};
use std::collections::BTreeMap;

/// Lines of the power's course.
const COURSE: u16 = 3;

/// Below that there is no room for it.
const COURSE_HEIGHT: u16 = 16;

/// What stands before a value: the longest name of an attribute, and a gap.
const LABEL: u16 = 24;

/// The bar of a job's progress.
const PROGRESS_BAR: u16 = 20;

/// A line: what it is about, and what is so.
type Entry = (String, String);

/// The last line from which on there is a screen's worth to read.
#[must_use]
pub(super) fn scrollable(view: &View, row: &Row, job: &Job, size: (u16, u16)) -> usize {
    let Some(now) = &view.now else { return 0 };
    let lines = entries(view, now, row, job, size.0).len();
    lines.saturating_sub(usize::from(body(size.1).1))
}

/// Where its entries begin, and how many lines there are for them.
fn body(height: u16) -> (u16, u16) {
    let top = match height {
        COURSE_HEIGHT.. => 4 + COURSE + 1,
        6.. => 2,
        _ => 1,
    };
    (top, height.saturating_sub(top + 1))
}

/// Draws it, the entries from `first` on.
pub(super) fn draw(view: &View, now: &Now, row: &Row, job: &Job, first: usize, page: &mut Page<'_>) {
    let (room, height) = (page.area.width, page.area.height);
    let (top, rows) = body(height);
    let has_course = height >= COURSE_HEIGHT;
    let title = if top == 1 { 0 } else { 1 };
    if title > 0 {
        summary(view, now, page, 0);
    }
    page.put(0, title, room, &row.name, bold());
    if view.silence.is_some() {
        // It takes the place of the least.
        notice(view, now, page, if has_course { 2 } else { 0 });
    }
    if has_course {
        course(view, job, page);
    }
    let entries = entries(view, now, row, job, room);
    let most = entries.len().saturating_sub(usize::from(rows));
    for (y, (label, value)) in (top..top + rows).zip(entries.iter().skip(first.min(most))) {
        page.put(0, y, label_room(room) - 1, label, quiet());
        page.put(label_room(room), y, room, value, Style::new());
    }
    if height > top {
        let more = if most > 0 { "  ↑↓ more" } else { "" };
        page.put(0, height - 1, room, &format!("Enter back  q quit  ? help{more}"), quiet());
    }
}

/// On a narrow screen the value has the most of it.
fn label_room(width: u16) -> u16 {
    LABEL.min(width / 3).max(1)
}

/// How its power went.
fn course(view: &View, job: &Job, page: &mut Page<'_>) {
    let room = page.area.width;
    let line = view.history.line(&Who::of(job), usize::from(room));
    let most = line.iter().flatten().max().copied().unwrap_or(0);
    let title = format!("power in the last 5 minutes, up to {} W", text::watts(most as f64 / 1e3));
    page.put(0, 3, room, &title, quiet());
    let style = page.coloured(Color::Green, Style::new());
    let area = Rect { x: page.area.x, y: page.area.y + 4, width: room, height: COURSE };
    let area = area.intersection(page.area);
    // What is nothing at all and what is not known look the same: neither has a bar.
    Sparkline::default()
        .data(line)
        .max(most.max(1))
        .absent_value_symbol(" ")
        .style(style)
        .render(area, page.buffer());
}

fn entries(view: &View, now: &Now, row: &Row, job: &Job, width: u16) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut say = |label: &str, value: String| all.push((label.to_owned(), value));
    say("job", format!("{} {}", printable(&job.job_kind), printable(&job.job_id)));
    let state = if job.is_live() { "" } else { ", has ended" };
    say(
        "known",
        format!("since {} UTC, {}{state}", text::date(&job.first_seen), text::age(&job.first_seen, &now.at)),
    );
    let share = if now.power_watts > 0.0 { job.power_watts / now.power_watts } else { 0.0 };
    let gpus = view.history.gpu_watts(&Who::of(job));
    let gpus = gpus.map_or(String::new(), |watts| format!(", accelerators {} W", text::watts(watts)));
    say(
        "power",
        format!(
            "{} W, {:.1} % of the host{gpus}, {} g/h",
            text::watts(job.power_watts),
            share * 100.0,
            text::rate(now.grams_per_hour(job.power_watts))
        ),
    );
    say(
        "used",
        format!(
            "{}, {} CO2e, {:.1} s of CPU",
            text::energy(row.joules),
            text::grams(row.grams),
            job.cpu_seconds
        ),
    );
    if let Some(progress) = &job.progress {
        let bar = bar(progress.ratio, 1.0, PROGRESS_BAR);
        let ratio = text::percent(progress.ratio);
        let said = text::clock(&progress.at);
        say("progress", format!("{} of {}, {ratio} at {said} UTC {bar}", progress.done, progress.total));
    }
    if let Some(prediction) = &job.prediction {
        all.extend(predicted(prediction));
    }
    for phase in &job.phases {
        let open = if phase.is_open { ", goes on" } else { "" };
        let (energy, grams) = (text::energy(phase.energy_joules), text::grams(phase.co2e_grams));
        let value = format!(
            "{}: {}, {energy}, {grams} CO2e{open}",
            printable(&phase.phase),
            text::lasts(phase.seconds)
        );
        all.push(("phase".to_owned(), value));
    }
    all.extend(by_hardware(job));
    for held in &job.gpus {
        let instance =
            if held.gpu_instance.is_empty() { String::new() } else { format!(" {}", held.gpu_instance) };
        let value = format!("{}{instance}, {} of it", held.gpu, text::percent(held.allocated));
        all.push(("accelerator".to_owned(), printable(&value)));
    }
    let known = job.attributes.iter().chain(&job.labels);
    all.extend(known.map(|(key, value)| (printable(key), printable(value))));
    all.into_iter().flat_map(|entry| broken(entry, width)).collect()
}

fn predicted(prediction: &Prediction) -> Vec<Entry> {
    let by = match prediction.intensity.as_str() {
        "forecast" => "by the forecast intensity",
        _ => "by the intensity in force",
    };
    let range = |its: &Quantiles, write: fn(f64) -> String| {
        format!("{} ({} to {})", write(its.median), write(its.low), write(its.high))
    };
    let entry = |label: &str, value: String| (label.to_owned(), value);
    vec![
        entry(
            "ends",
            format!("{} UTC, from {} blocks of work, {by}", text::date(&prediction.end), prediction.blocks),
        ),
        entry("in all", format!("{}, in 8 of 10 cases", range(&prediction.energy_joules, text::energy))),
        entry("", format!("{} CO2e", range(&prediction.co2e_grams, text::grams))),
        entry("", range(&prediction.duration_seconds, text::lasts)),
    ]
}

/// Energy by kind of hardware and origin; what is measured and what is estimated are never one figure.
fn by_hardware(job: &Job) -> Vec<Entry> {
    let mut sums: BTreeMap<(&str, &str, &str), f64> = BTreeMap::new();
    for Energy { hw_type, gpu, origin, joules } in &job.energy {
        *sums.entry((hw_type, gpu, origin)).or_default() += joules;
    }
    let entry = |((hw_type, gpu, origin), joules): ((&str, &str, &str), f64)| {
        let gpu = if gpu.is_empty() { String::new() } else { format!(", {}", printable(gpu)) };
        (
            format!("energy, {}", printable(hw_type)),
            format!("{} {}{gpu}", text::energy(joules), printable(origin)),
        )
    };
    sums.into_iter().map(entry).collect()
}

/// In lines that fit, broken between words where that is possible: of a long value everything is there.
fn broken((label, value): Entry, room: u16) -> Vec<Entry> {
    let room = room.saturating_sub(label_room(room)).max(1);
    let mut lines: Vec<Entry> = vec![(label, String::new())];
    let mut used = 0;
    for word in value.split_inclusive(' ') {
        if used > 0 && width(word.trim_end()) > room - used.min(room) {
            lines.push(Entry::default());
            used = 0;
        }
        for char in word.chars() {
            let wide = char.encode_utf8(&mut [0; 4]).cell_width();
            if used > 0 && wide > room - used.min(room) && char != ' ' {
                lines.push(Entry::default());
                used = 0;
            }
            if let Some((_, line)) = lines.last_mut() {
                line.push(char);
            }
            used = used.saturating_add(wide);
        }
    }
    lines
}
