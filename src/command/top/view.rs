//! What somebody who watches has before them, as a state that answers and keys change; nothing here waits,
//! reads or draws.

use super::details;
use super::history::{History, Who};
use super::layout::{self, Lines, Present};
use super::text;
use crate::command::now::{Job, Now, Rest, printable};
use crate::model::description::Attribute;
use std::cmp::Ordering;

/// No name is longer by much; what is pasted by mistake may be.
const MAX_FILTER: usize = 64;

/// What a terminal is until it says otherwise.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// A key, whatever terminal it was pressed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// One up.
    Up,
    /// One down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Into something.
    Enter,
    /// Out of it.
    Escape,
    /// Out of all of it.
    Interrupt,
    /// For a while.
    Suspend,
    /// One character less.
    Backspace,
    /// A character.
    Char(char),
}

/// What happens to a view.
#[derive(Debug)]
pub enum Event {
    /// The exporter has answered.
    Answer(Box<Now>),
    /// It has not, for this reason.
    Silence(String),
    /// A key was pressed.
    Key(Key),
    /// The screen has so many columns and lines.
    Size(u16, u16),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is drawn again.
    Stay,
    /// It is left for a while.
    Pause,
    /// It is left.
    Leave,
}

/// By what jobs are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// What they draw.
    Power,
    /// What they have used.
    Energy,
    /// What they have emitted.
    Grams,
    /// CPU time.
    Cpu,
    /// What they are called.
    Name,
    /// How far they have come.
    Progress,
}

impl Sort {
    /// By the keys 1 to 6.
    pub const ALL: [Sort; 6] =
        [Sort::Power, Sort::Energy, Sort::Grams, Sort::Cpu, Sort::Name, Sort::Progress];

    /// What it is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Sort::Power => "power",
            Sort::Energy => "energy",
            Sort::Grams => "grams",
            Sort::Cpu => "cpu",
            Sort::Name => "name",
            Sort::Progress => "progress",
        }
    }
}

/// What fills the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// The jobs.
    List,
    /// One of them, from this line on.
    Details(Who, usize),
    /// The keys.
    Help,
}

/// A job of the newest answer and what was made of it once, rather than at every key.
#[derive(Debug)]
pub struct Row {
    /// By what people know it.
    pub name: String,
    /// All that it has used.
    pub joules: f64,
    /// All that it has emitted.
    pub grams: f64,
    /// What a filter looks at.
    words: String,
}

/// The state.
#[derive(Debug)]
pub struct View {
    pub(super) has_colours: bool,
    pub(super) now: Option<Box<Now>>,
    /// One for each job of `now`, in its order.
    pub(super) rows: Vec<Row>,
    pub(super) rest: Vec<Rest>,
    /// How many jobs live.
    pub(super) live: usize,
    /// What of the host's energy was measured.
    pub(super) measured: String,
    /// Places in `rows` of what is shown, in order.
    pub(super) order: Vec<usize>,
    pub(super) history: History,
    pub(super) present: Present,
    /// Why there is no answer, since the last one.
    pub(super) silence: Option<String>,
    pub(super) notice: Option<String>,
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// Nobody before the first key: then whoever comes first.
    selected: Option<Who>,
    pub(super) cursor: usize,
    pub(super) first: usize,
    size: (u16, u16),
}

impl View {
    /// Of nothing yet.
    #[must_use]
    pub fn new(has_colours: bool) -> View {
        View {
            has_colours,
            now: None,
            rows: Vec::new(),
            rest: Vec::new(),
            live: 0,
            measured: String::new(),
            order: Vec::new(),
            history: History::default(),
            present: Present::default(),
            silence: None,
            notice: None,
            screen: Screen::List,
            sort: Sort::Power,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            selected: None,
            cursor: 0,
            first: 0,
            size: USUAL_SIZE,
        }
    }

    /// Takes an event in.
    pub fn on(&mut self, event: Event) -> Next {
        let next = match event {
            Event::Answer(now) => {
                self.take(now);
                Next::Stay
            }
            Event::Silence(why) => {
                self.silence = Some(why);
                Next::Stay
            }
            Event::Size(width, height) => {
                self.size = (width, height);
                Next::Stay
            }
            Event::Key(Key::Interrupt) => Next::Leave,
            Event::Key(Key::Suspend) => Next::Pause,
            Event::Key(key) => {
                self.notice = None;
                self.press(key)
            }
        };
        self.settle();
        next
    }

    /// The lines of a screen of this height.
    #[must_use]
    pub fn lines(&self, height: u16) -> Lines {
        let has_notice = self.silence.is_some() || self.notice.is_some();
        layout::lines(height, self.rest.len(), has_notice, self.is_typing)
    }

    /// The job that details are shown of.
    #[must_use]
    pub fn detailed(&self) -> Option<(&Row, &Job)> {
        let Screen::Details(who, _) = &self.screen else { return None };
        let jobs = &self.now.as_ref()?.jobs;
        self.rows.iter().zip(jobs).find(|(_, job)| who.is(job))
    }

    fn take(&mut self, now: Box<Now>) {
        self.silence = None;
        self.history.note(&now);
        self.rest = now.rest();
        self.rows = now.jobs.iter().map(row).collect();
        self.measured = text::measured(&now);
        let live = || now.jobs.iter().filter(|job| job.is_live());
        self.present = Present {
            has_gpus: self.history.has_gpus,
            has_progress: live().any(|job| job.progress.is_some()),
            has_predictions: live().any(|job| job.prediction.is_some()),
        };
        self.live = live().count();
        self.now = Some(now);
        if matches!(self.screen, Screen::Details(..)) && self.detailed().is_none() {
            self.screen = Screen::List;
            self.notice =
                Some("the job has ended and left the page (jouleprint report has its record)".to_owned());
        }
        self.arrange();
    }

    fn press(&mut self, key: Key) -> Next {
        if self.is_typing {
            self.type_in(key);
            return Next::Stay;
        }
        match &mut self.screen {
            Screen::Help => match key {
                Key::Char('q') => return Next::Leave,
                _ => self.screen = Screen::List,
            },
            Screen::Details(_, first) => match key {
                Key::Char('q') => return Next::Leave,
                Key::Escape | Key::Enter | Key::Backspace => self.screen = Screen::List,
                Key::Char('?') => self.screen = Screen::Help,
                Key::Up | Key::Char('k') => *first = first.saturating_sub(1),
                Key::Down | Key::Char('j') => *first += 1,
                Key::PageUp => *first = first.saturating_sub(usize::from(self.size.1)),
                Key::PageDown => *first += usize::from(self.size.1),
                Key::Home => *first = 0,
                Key::End => *first = usize::MAX / 2,
                Key::Interrupt | Key::Suspend | Key::Char(_) => {}
            },
            Screen::List => return self.press_in_list(key),
        }
        Next::Stay
    }

    fn press_in_list(&mut self, key: Key) -> Next {
        let page = usize::from(self.lines(self.size.1).rows).max(1);
        match key {
            Key::Char('q') => return Next::Leave,
            Key::Escape if self.filter.is_empty() => return Next::Leave,
            Key::Escape => {
                self.filter.clear();
                self.arrange();
            }
            Key::Up | Key::Char('k') => self.select(self.cursor.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(self.cursor.saturating_add(1)),
            Key::PageUp => self.select(self.cursor.saturating_sub(page)),
            Key::PageDown => self.select(self.cursor.saturating_add(page)),
            Key::Home => self.select(0),
            Key::End => self.select(usize::MAX),
            Key::Enter => {
                self.select(self.cursor);
                if let Some(who) = &self.selected {
                    self.screen = Screen::Details(who.clone(), 0);
                }
            }
            Key::Char('?') => self.screen = Screen::Help,
            Key::Char('/') => self.is_typing = true,
            Key::Char('s') => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort_by(Sort::ALL[(at + 1) % Sort::ALL.len()]);
            }
            Key::Char('r') => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            Key::Char(char @ '1'..='6') => {
                self.sort_by(Sort::ALL[char as usize - '1' as usize]);
            }
            Key::Interrupt | Key::Suspend | Key::Backspace | Key::Char(_) => {}
        }
        Next::Stay
    }

    fn type_in(&mut self, key: Key) {
        match key {
            Key::Escape => {
                self.filter.clear();
                self.is_typing = false;
            }
            Key::Enter => self.is_typing = false,
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(char) if !char.is_control() && self.filter.chars().count() < MAX_FILTER => {
                self.filter.push(char);
            }
            // The arrows move while it is typed.
            Key::Up => self.select(self.cursor.saturating_sub(1)),
            Key::Down => self.select(self.cursor.saturating_add(1)),
            Key::PageUp | Key::PageDown | Key::Home | Key::End => {}
            Key::Interrupt | Key::Suspend | Key::Char(_) => {}
        }
        self.arrange();
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.is_reversed = false;
        self.arrange();
    }

    fn select(&mut self, at: usize) {
        self.cursor = at.min(self.order.len().saturating_sub(1));
        let job = self.order.get(self.cursor).and_then(|row| self.now.as_ref()?.jobs.get(*row));
        self.selected = job.map(Who::of);
    }

    /// What is shown, in order; the cursor goes with its job.
    fn arrange(&mut self) {
        let Some(now) = &self.now else { return };
        let wanted = printable(&self.filter).to_lowercase();
        let is_shown = |at: &usize| now.jobs[*at].is_live() && self.rows[*at].words.contains(&wanted);
        let mut order: Vec<usize> = (0..self.rows.len()).filter(is_shown).collect();
        order.sort_by(|one, other| {
            let of = |at: usize| (&self.rows[at], &now.jobs[at]);
            let (one, other) = (of(*one), of(*other));
            let by = compare(self.sort, self.is_reversed, one, other);
            // The same order at every answer, where figures are the same.
            by.then_with(|| one.1.job_kind.cmp(&other.1.job_kind))
                .then_with(|| one.1.job_id.cmp(&other.1.job_id))
        });
        self.order = order;
        if let Some(who) = &self.selected {
            let found = self.order.iter().position(|at| who.is(&now.jobs[*at]));
            match found {
                Some(at) => self.cursor = at,
                // It is gone, or filtered out: whoever is in its place now.
                None => self.select(self.cursor),
            }
        }
    }

    /// Nothing points beyond what there is.
    fn settle(&mut self) {
        self.cursor = self.cursor.min(self.order.len().saturating_sub(1));
        let rows = usize::from(self.lines(self.size.1).rows);
        self.first = layout::scrolled(self.first, self.cursor, rows, self.order.len());
        let most = match self.detailed() {
            Some((row, job)) => details::scrollable(self, row, job, self.size),
            None => 0,
        };
        if let Screen::Details(_, first) = &mut self.screen {
            *first = (*first).min(most);
        }
    }
}

fn row(job: &Job) -> Row {
    let known = [Attribute::UserName, Attribute::Namespace, Attribute::Project];
    let name = job.name();
    let mut words = format!("{name}\n{}\n{}", job.job_kind, job.job_id);
    for value in known.into_iter().filter_map(|attribute| job.get(attribute)) {
        words.push('\n');
        words.push_str(value);
    }
    Row { name, joules: job.joules(), grams: job.grams(), words: words.to_lowercase() }
}

/// The largest first, names from A on; what is not known is last either way.
fn compare(sort: Sort, is_reversed: bool, one: (&Row, &Job), other: (&Row, &Job)) -> Ordering {
    let turned = |order: Ordering| if is_reversed { order.reverse() } else { order };
    let figure = |(row, job): (&Row, &Job)| match sort {
        Sort::Power => Some(job.power_watts),
        Sort::Energy => Some(row.joules),
        Sort::Grams => Some(row.grams),
        Sort::Cpu => Some(job.cpu_seconds),
        Sort::Progress => job.progress.as_ref().map(|progress| progress.ratio),
        Sort::Name => None,
    };
    if sort == Sort::Name {
        return turned(one.0.name.cmp(&other.0.name));
    }
    match (figure(one), figure(other)) {
        (Some(one), Some(other)) => turned(other.total_cmp(&one)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
