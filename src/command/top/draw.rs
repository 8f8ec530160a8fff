//! A view as cells. Of a thousand jobs only those on the screen are written. The colours are few, of those
//! that light and dark terminals both show, on whatever background there is; none of them says anything that
//! is not also written.

use super::layout::{Column, Field, columns, scrolled};
use super::text;
use super::view::{Screen, Sort, View};
use super::{details, history::Who};
use crate::command::now::{Now, Rest, printable};
use ratatui::Frame;
use ratatui::buffer::{Buffer, CellWidth};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// The keys, and what they do.
const KEYS: [(&str, &str); 12] = [
    ("↑ ↓, j k", "select a job; it stays selected wherever it goes"),
    ("PgUp PgDn", "a page up or down"),
    ("Home End", "the first job, the last job"),
    ("Enter", "all that is known of it, and back"),
    ("1 … 6", "sort by power, energy, grams, cpu, name, progress"),
    ("s", "sort by the next of these"),
    ("r", "the other way round"),
    ("/", "only jobs with this in name, kind, id, user, namespace, project"),
    ("Esc", "back; then all jobs again; then quit"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
    ("Ctrl-Z", "to the shell for a while; fg brings this back"),
];

/// What the columns mean.
const MEANINGS: [&str; 4] = [
    "W, GPU W, g/h: now; energy and CO2e: since the job was first seen.",
    "share: of all that the host draws. CO2e is g/kWh × PUE.",
    "done, ends, CO2e then: what the job says, and what follows from it.",
    "All lines together are what the host draws. Times are UTC.",
];

/// The least of a host's name.
const MIN_HOST: u16 = 8;

/// Where things are written.
pub(super) struct Page<'a> {
    buffer: &'a mut Buffer,
    /// What there is of it.
    pub(super) area: Rect,
    has_colours: bool,
}

impl Page<'_> {
    /// Writes in a line, from `x` on and at most so many columns; what does not fit is cut, and says so.
    /// Returns where it ends.
    pub(super) fn put(&mut self, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
        let room = room.min(self.area.width.saturating_sub(x));
        if y >= self.area.height || room == 0 {
            return x;
        }
        let (left, top) = (self.area.x + x, self.area.y + y);
        if width(text) <= room {
            return self.buffer.set_stringn(left, top, text, usize::from(room), style).0 - self.area.x;
        }
        let (end, _) = self.buffer.set_stringn(left, top, text, usize::from(room - 1), style);
        self.buffer.set_stringn(end, top, "…", 1, style).0 - self.area.x
    }

    /// The same, up to the end of its room.
    fn put_right(&mut self, x: u16, y: u16, room: u16, text: &str, style: Style) {
        let before = room.saturating_sub(width(text));
        self.put(x + before, y, room - before, text, style);
    }

    /// Puts one piece after the other, as far as they fit whole.
    fn pieces(&mut self, y: u16, pieces: &[(String, Style)]) {
        let mut x = 0;
        for (piece, style) in pieces {
            let needed = width(piece);
            if x > 0 && x + needed > self.area.width {
                continue;
            }
            x = self.put(x, y, self.area.width, piece, *style) + 2;
        }
    }

    fn style_line(&mut self, y: u16, style: Style) {
        if y < self.area.height {
            let area = Rect { y: self.area.y + y, height: 1, ..self.area };
            self.buffer.set_style(area, style);
        }
    }

    pub(super) fn coloured(&self, color: Color, style: Style) -> Style {
        if self.has_colours { style.fg(color) } else { style }
    }

    pub(super) fn buffer(&mut self) -> &mut Buffer {
        self.buffer
    }
}

/// What stands out.
pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// What does not.
pub(super) fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// In columns of a terminal.
pub(super) fn width(text: &str) -> u16 {
    text.cell_width()
}

/// Draws it.
pub fn draw(view: &View, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut page = Page { buffer: frame.buffer_mut(), area, has_colours: view.has_colours };
    let Some(now) = &view.now else {
        page.put(0, 0, area.width, "no answer yet", Style::new());
        return;
    };
    match (&view.screen, view.detailed()) {
        (Screen::Help, _) => help(&mut page),
        (Screen::Details(_, first), Some((row, job))) => {
            details::draw(view, now, row, job, *first, &mut page);
        }
        (Screen::List | Screen::Details(..), _) => list(view, now, &mut page),
    }
}

fn list(view: &View, now: &Now, page: &mut Page<'_>) {
    let lines = view.lines(page.area.height);
    if let Some(y) = lines.summary {
        summary(view, now, page, y);
    }
    if let Some(y) = lines.grid {
        let text = format!("{}, at {} UTC", printable(&text::grid(now)), text::clock(&now.at));
        page.put(0, y, page.area.width, &text, Style::new());
    }
    if let Some(y) = lines.notice {
        notice(view, now, page, y);
    }
    let columns = columns(page.area.width, view.present);
    if let Some(y) = lines.head {
        head(view, &columns, page, y);
    }
    for (y, rest) in (lines.rest..lines.rest + lines.rests).zip(&view.rest) {
        rest_line(now, rest, &columns, page, y);
    }
    let rows = usize::from(lines.rows);
    let first = scrolled(view.first, view.cursor, rows, view.order.len());
    for (y, place) in (lines.table..).zip(first..view.order.len()).take(rows) {
        job_line(view, now, view.order[place], &columns, page, y);
        if place == view.cursor {
            page.style_line(y, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    if view.order.is_empty() && lines.rows > 0 {
        let why = if view.filter.is_empty() { "no jobs" } else { "no job has this text" };
        page.put(0, lines.table, page.area.width, why, quiet());
    }
    if let Some(y) = lines.foot {
        foot(view, now, page, y);
    }
}

/// What the host does.
pub(super) fn summary(view: &View, now: &Now, page: &mut Page<'_>, y: u16) {
    let watts = format!("{} W", text::watts(now.power_watts));
    // A long name leaves room for the watts.
    let most = (page.area.width / 3).max(MIN_HOST).min(page.area.width.saturating_sub(width(&watts) + 1));
    let end = page.put(0, y, most, &printable(&now.host), bold());
    let pieces = [
        (watts, bold()),
        (format!("{} g/h", text::rate(now.grams_per_hour(now.power_watts))), bold()),
        (jobs(view.live), Style::new()),
        (view.measured.clone(), Style::new()),
        (format!("by {}", order(view)), quiet()),
    ];
    let mut x = end + if page.area.width < 40 { 1 } else { 2 };
    for (at, (piece, style)) in pieces.iter().enumerate() {
        if at == 0 || x + width(piece) <= page.area.width {
            x = page.put(x, y, page.area.width, piece, *style) + 2;
        }
    }
}

fn jobs(count: usize) -> String {
    format!("{count} {}", if count == 1 { "job" } else { "jobs" })
}

fn order(view: &View) -> String {
    format!("{}{}", view.sort.as_str(), if view.is_reversed { ", reversed" } else { "" })
}

/// What is not as it should be.
pub(super) fn notice(view: &View, now: &Now, page: &mut Page<'_>, y: u16) {
    if let Some(why) = &view.silence {
        let text = format!("no answer since {} UTC: {}", text::clock(&now.at), printable(why));
        let style = page.coloured(Color::Red, bold());
        page.put(0, y, page.area.width, &text, style);
    } else if let Some(notice) = &view.notice {
        page.put(0, y, page.area.width, notice, bold());
    }
}

fn head(view: &View, columns: &[Column], page: &mut Page<'_>, y: u16) {
    let sorted = match view.sort {
        Sort::Power => Some(Field::Watts),
        Sort::Energy => Some(Field::Energy),
        Sort::Grams => Some(Field::Grams),
        Sort::Name => Some(Field::Name),
        Sort::Progress => Some(Field::Done),
        Sort::Cpu => None,
    };
    for column in columns {
        let is_sorted = sorted == Some(column.field);
        let style = if is_sorted { bold() } else { Style::new() }.add_modifier(Modifier::UNDERLINED);
        if column.field.is_number() {
            page.put_right(column.x, y, column.width, column.field.head(), style);
        } else {
            page.put(column.x, y, column.width, column.field.head(), style);
        }
    }
}

fn rest_line(now: &Now, rest: &Rest, columns: &[Column], page: &mut Page<'_>, y: u16) {
    for column in columns {
        let text = match column.field {
            Field::Name => rest.name.clone(),
            Field::Watts => text::watts(rest.watts),
            Field::Share => bar(rest.watts, now.power_watts, column.width),
            Field::Rate => text::rate(now.grams_per_hour(rest.watts)),
            Field::Energy => rest.joules.map(text::energy).unwrap_or_default(),
            Field::Kind | Field::Gpu | Field::Grams | Field::Done | Field::Ends | Field::Total => {
                String::new()
            }
        };
        cell(page, column, y, &text, quiet());
    }
}

fn job_line(view: &View, now: &Now, at: usize, columns: &[Column], page: &mut Page<'_>, y: u16) {
    let (row, job) = (&view.rows[at], &now.jobs[at]);
    let prediction = job.prediction.as_ref();
    for column in columns {
        let mut style = Style::new();
        let text = match column.field {
            Field::Name => row.name.clone(),
            Field::Kind => printable(&job.job_kind),
            Field::Watts => text::watts(job.power_watts),
            Field::Share => {
                style = page.coloured(Color::Green, style);
                bar(job.power_watts, now.power_watts, column.width)
            }
            Field::Gpu => view.history.gpu_watts(&Who::of(job)).map(text::watts).unwrap_or_default(),
            Field::Rate => text::rate(now.grams_per_hour(job.power_watts)),
            Field::Energy => text::energy(row.joules),
            Field::Grams => text::grams(row.grams),
            Field::Done => {
                job.progress.as_ref().map(|progress| text::percent(progress.ratio)).unwrap_or_default()
            }
            Field::Ends => prediction.map(|its| text::end(&its.end, &now.at)).unwrap_or_default(),
            Field::Total => prediction.map(|its| text::grams(its.co2e_grams.median)).unwrap_or_default(),
        };
        cell(page, column, y, &text, style);
    }
}

fn cell(page: &mut Page<'_>, column: &Column, y: u16, text: &str, style: Style) {
    if column.field.is_number() {
        page.put_right(column.x, y, column.width, text, style);
    } else {
        page.put(column.x, y, column.width, text, style);
    }
}

/// Blocks in eighths; what is there is seen.
pub(super) fn bar(part: f64, whole: f64, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part <= 0.0 || whole <= 0.0 {
        return String::new();
    }
    let all = f64::from(width) * 8.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let eighths = (part / whole * all).round().clamp(1.0, all) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn foot(view: &View, now: &Now, page: &mut Page<'_>, y: u16) {
    let filter = printable(&view.filter);
    let found = || {
        let watts = view.order.iter().map(|at| now.jobs[*at].power_watts).sum();
        format!("{}, {} W", jobs(view.order.len()), text::watts(watts))
    };
    if view.is_typing {
        let pieces = [
            (format!("filter: {filter}█"), bold()),
            (found(), Style::new()),
            ("Enter keeps it, Esc ends it".to_owned(), quiet()),
        ];
        page.pieces(y, &pieces);
    } else if !filter.is_empty() {
        let pieces = [
            (format!("filter: {filter}"), bold()),
            (found(), Style::new()),
            ("Esc shows all jobs".to_owned(), quiet()),
        ];
        page.pieces(y, &pieces);
    } else {
        let keys = ["q quit", "Enter details", "/ filter", "? help", "s sort", "r reverse", "↑↓ select"];
        page.pieces(y, &keys.map(|key| (key.to_owned(), quiet())));
    }
}

fn help(page: &mut Page<'_>) {
    page.put(0, 0, page.area.width, "jouleprint top: keys", bold());
    let room = page.area.width;
    let mut y = 2;
    for (key, meaning) in KEYS {
        page.put(0, y, room, key, bold());
        page.put(12, y, room, meaning, Style::new());
        y += 1;
    }
    y += 1;
    for line in MEANINGS {
        page.put(0, y, room, line, Style::new());
        y += 1;
    }
    page.put(0, page.area.height.saturating_sub(1).max(y), room, "any key goes back, q quits", quiet());
}
