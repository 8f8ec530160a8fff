//! A host as a plain text: the files of /proc, /sys and the control groups, and what becomes of them
//! from tick to tick. Laid out in a temporary folder, it is a machine to the program under test.
//!
//! ```text
//! # what a person must know, with the sums done by hand
//! == proc/meminfo                        a file of several lines, up to the next ==
//! MemTotal:       16 kB
//! ==
//! cgroup/a.service/cpu.stat = usage_usec 0          a file of one line
//! sys/x/gpu_metrics <- 20010104 ff*8 ee02           a file of these bytes, in hex
//! sys/class/powercap/intel-rapl:0 -> ../there       a link
//! cgroup/empty.slice/                               a directory
//! ! still sys/devices/x/energy_uj                   does not advance while it is probed
//! ! slow sys/x/gpu_metrics              counts a tenth of the power it shows while it is probed
//! ! in-step                                         all counters advance alike while probed
//! @ 5s                                   changes until here stand before the tick at 5 s
//! proc/stat[cpu{0..3}] += 100            adds to the first number behind `cpu0`, `cpu1`, …
//! sys/devices/x/energy_uj += 300000000   adds to the first number in the file
//! sys/x/gpu_metrics[@24] += 65536        adds to the 64-bit number at byte 24
//! - cgroup/a.service                     is gone, with everything in it
//! @ 10s..320s/5s                         the same changes at each of these ticks
//! ```
//!
//! With a `nvml/scenario.json` there is NVIDIA's library too, which answers what that file says.

use crate::page::{Page, check_identity, check_rising};
use jouleprint::config::Settings;
use jouleprint::config::flags::Flags;
use jouleprint::daemon;
use jouleprint::model::quantity::Nanos;
use jouleprint::model::snapshot::Snapshot;
use jouleprint::model::time::Moment;
use jouleprint::output::prometheus::{Format, render};
use jouleprint::sampler::{Parts, Sampler};
use jouleprint::source::nvml;
use nvml_stand_in::board::lay_library;
use nvml_stand_in::scenario::LIBRARY;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The made-up clocks begin here: some time after boot, in the first second of 2026.
const BOOTED_SECONDS: u64 = 1_000;
const WALL_SECONDS: u64 = 1_767_225_600;

/// While a counter is probed it is moved on this often; discovery looks each 100 ms.
const STEP: Duration = Duration::from_millis(4);

/// Had the helper to wait longer than this for a processor, discovery may have seen a counter stand.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// One thing that happens to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Write(String, String),
    Bytes(String, Vec<u8>),
    Link(String, String),
    Make(String),
    Remove(String),
    Add { path: String, key: String, amount: u64 },
}

/// A parsed host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// What is there from the beginning.
    pub(crate) first: Vec<Change>,
    /// Seconds and changes, tick by tick, behind the one at 0 s.
    pub(crate) ticks: Vec<(u64, Vec<Change>)>,
    still: Vec<String>,
    slow: Vec<String>,
    is_in_step: bool,
}

impl Host {
    /// Reads the text of a host; a line that means nothing is an error, so that no test checks less
    /// than it says.
    pub(crate) fn parse(text: &str) -> Result<Host, String> {
        let mut host = Host::default();
        let mut times: Vec<u64> = vec![0];
        let mut changes = Vec::new();
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            let wrong = || format!("line {number}: {line:?} means nothing");
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(path) = line.strip_prefix("== ") {
                let mut content = String::new();
                loop {
                    let (_, line) = lines.next().ok_or_else(|| format!("line {number}: no end"))?;
                    if line == "==" {
                        break;
                    }
                    content.push_str(line);
                    content.push('\n');
                }
                changes.extend(braces(path).into_iter().map(|path| Change::Write(path, content.clone())));
            } else if let Some(time) = line.strip_prefix("@ ") {
                host.close(&times, std::mem::take(&mut changes));
                times = parse_times(time).ok_or_else(wrong)?;
            } else if let Some(path) = line.strip_prefix("- ") {
                changes.extend(braces(path).into_iter().map(Change::Remove));
            } else if let Some(path) = line.strip_prefix("! still ") {
                host.still.push(path.to_owned());
            } else if let Some(path) = line.strip_prefix("! slow ") {
                host.slow.push(path.to_owned());
            } else if line == "! in-step" {
                host.is_in_step = true;
            } else if let Some((path, target)) = line.split_once(" -> ") {
                changes.push(Change::Link(path.to_owned(), target.to_owned()));
            } else if let Some((path, bytes)) = line.split_once(" <- ") {
                let bytes = hexadecimal(bytes).ok_or_else(wrong)?;
                changes.extend(braces(path).into_iter().map(|path| Change::Bytes(path, bytes.clone())));
            } else if let Some((path, amount)) = line.split_once(" += ") {
                let amount = amount.trim().replace('_', "").parse().map_err(|_| wrong())?;
                for path in braces(path) {
                    let (path, key) = match path.strip_suffix(']').and_then(|path| path.split_once('[')) {
                        Some((path, key)) => (path.to_owned(), key.to_owned()),
                        None => (path, String::new()),
                    };
                    changes.push(Change::Add { path, key, amount });
                }
            } else if let Some((path, content)) = line.split_once(" = ") {
                let content = format!("{content}\n");
                changes.extend(braces(path).into_iter().map(|path| Change::Write(path, content.clone())));
            } else if let Some(path) = line.strip_suffix('/') {
                changes.extend(braces(path).into_iter().map(Change::Make));
            } else {
                return Err(wrong());
            }
        }
        host.close(&times, changes);
        Ok(host)
    }

    fn close(&mut self, times: &[u64], changes: Vec<Change>) {
        for &time in times {
            match time {
                0 => self.first.extend(changes.iter().cloned()),
                _ => self.ticks.push((time, changes.clone())),
            }
        }
    }
}

/// `20010104 ff*8 ee02`: pairs of digits, and one pair so many times over.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        });
        let pairs: Vec<u8> = pairs.collect::<Option<_>>()?;
        bytes.extend(pairs.repeat(times.parse().ok()?));
    }
    Some(bytes)
}

/// `5s`, or `10s..320s/5s`.
fn parse_times(text: &str) -> Option<Vec<u64>> {
    let seconds = |text: &str| text.trim().strip_suffix('s')?.parse::<u64>().ok();
    let Some((first, rest)) = text.split_once("..") else { return Some(vec![seconds(text)?]) };
    let (last, step) = rest.split_once('/')?;
    let step = usize::try_from(seconds(step)?).ok().filter(|step| *step > 0)?;
    Some((seconds(first)?..=seconds(last)?).step_by(step).collect())
}

/// `cpu{0..2}` and `{a,b}`, as a shell expands them.
fn braces(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![text.to_owned()] };
    let range = inside.split_once("..").and_then(|(first, last)| {
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        Some((first..=last).map(|number| number.to_string()).collect::<Vec<_>>())
    });
    let choices = range.unwrap_or_else(|| inside.split(',').map(str::to_owned).collect());
    let all = choices.iter().flat_map(|choice| braces(after).into_iter().map(move |end| (choice, end)));
    all.map(|(choice, end)| format!("{before}{choice}{end}")).collect()
}

/// A host laid out in a folder of its own.
pub(crate) struct Ground {
    folder: TempDir,
    still: Vec<PathBuf>,
    slow: Vec<PathBuf>,
    is_in_step: bool,
}

impl Ground {
    /// Lays out what is there from the beginning.
    pub(crate) fn new(host: &Host) -> Ground {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths = |paths: &[String]| paths.iter().map(|path| folder.path().join(path)).collect();
        let (still, slow) = (paths(&host.still), paths(&host.slow));
        let ground = Ground { folder, still, slow, is_in_step: host.is_in_step };
        for directory in ["proc", "sys", "cgroup"] {
            fs::create_dir(ground.path(directory)).expect("made");
        }
        ground.apply(&host.first);
        if ground.path("nvml").is_dir() {
            lay_library(&ground.path("nvml"));
        }
        ground
    }

    /// Lays out the text of a host.
    pub(crate) fn of(text: &str) -> Ground {
        Ground::new(&Host::parse(text).expect("a host"))
    }

    /// A path in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The settings of an exporter that sees this folder as its machine, with `config.yaml` if it is there.
    pub(crate) fn settings(&self) -> Settings {
        let file = Some(self.path("config.yaml")).filter(|path| path.exists());
        let flags = Flags {
            host_name: Some("n1".to_owned()),
            zone: file.is_none().then(|| "DE".to_owned()),
            config_file: file,
            procfs: Some(self.path("proc")),
            sysfs: Some(self.path("sys")),
            cgroupfs: Some(self.path("cgroup")),
            ..Flags::default()
        };
        let mut settings = Settings::load(&flags).expect("valid settings");
        // The clock is made up; a thread would have its own.
        settings.hardware.has_no_threads = true;
        // A GPU is there where a scenario says so, whatever this machine has.
        let library = self.path("nvml").join(LIBRARY);
        settings.hardware.nvml = nvml::Wish {
            is_on: library.exists(),
            library: Some(library),
            is_in_step: true,
            ..nvml::Wish::default()
        };
        settings
    }

    /// What the sampler of this machine is made of.
    pub(crate) fn parts(&self) -> Parts {
        let settings = self.settings();
        let mut parts = self.while_advancing(|| daemon::parts(&settings).expect("/proc/stat is there"));
        parts.kernel = "6.8.0".into();
        parts
    }

    /// Calls `discover` while the energy counters advance, and puts them back to where they stood.
    pub(crate) fn while_advancing<T>(&self, discover: impl Fn() -> T) -> T {
        const TRIES: u32 = 50;
        for _ in 0..TRIES {
            let mut counters = Vec::new();
            find_counters(&self.path("sys"), self, &mut counters);
            let is_over = AtomicBool::new(false);
            let (found, longest) = std::thread::scope(|scope| {
                let helper = scope.spawn(|| advance(&counters, self.is_in_step, &is_over));
                let found = discover();
                is_over.store(true, Ordering::Release);
                (found, helper.join().expect("the helper does not panic"))
            });
            for counter in &counters {
                counter.restore();
            }
            if longest < LONGEST_PAUSE {
                return found;
            }
        }
        panic!("this machine is too busy for a thread to run each 80 ms, {TRIES} times over");
    }

    /// Makes things happen to the files.
    pub(crate) fn apply(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Write(path, content) => self.write(path, content),
                Change::Bytes(path, bytes) => {
                    self.write(path, "");
                    fs::write(self.path(path), bytes).expect(path);
                }
                Change::Link(path, target) => self.link(path, target),
                Change::Make(path) => fs::create_dir_all(self.path(path)).expect(path),
                Change::Remove(path) => self.remove(path),
                Change::Add { path, key, amount } => self.add(path, key, *amount),
            }
        }
    }

    /// The same, from text.
    pub(crate) fn change(&self, text: &str) {
        self.apply(&Host::parse(text).expect("changes").first);
    }

    /// Writes a file in place, as the kernel changes what an open file says.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Makes a link, in place of another one.
    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        if path.is_symlink() {
            fs::remove_file(&path).expect("removed");
        }
        symlink(target, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Removes a file, or a directory with all that is in it: a control group takes its files along.
    pub(crate) fn remove(&self, path: &str) {
        let full = self.path(path);
        let removed = if full.is_dir() && !full.is_symlink() {
            fs::remove_dir_all(&full)
        } else {
            fs::remove_file(&full)
        };
        removed.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn add(&self, path: &str, key: &str, amount: u64) {
        let full = self.path(path);
        if let Some(at) = key.strip_prefix('@') {
            let at: usize = at.parse().expect("a place among the bytes");
            let mut bytes = fs::read(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
            let number = bytes.get_mut(at..at + 8).expect("the file is longer");
            let value = u64::from_le_bytes((&*number).try_into().expect("eight bytes"));
            number.copy_from_slice(&(value + amount).to_le_bytes());
            return fs::write(&full, bytes).expect(path);
        }
        let text = fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut is_done = false;
        let lines = text.lines().map(|line| {
            let rest = line.strip_prefix(key).filter(|rest| key.is_empty() || rest.starts_with(' '));
            match rest.filter(|_| !is_done) {
                Some(rest) => {
                    is_done = true;
                    let start = rest.find(|char: char| char.is_ascii_digit()).expect(path);
                    let digits = &rest[start..];
                    let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
                    let value: u64 = digits[..end].parse().expect("digits");
                    format!("{key}{}{}{}\n", &rest[..start], value + amount, &digits[end..])
                }
                None => format!("{line}\n"),
            }
        });
        let text: String = lines.collect();
        assert!(is_done, "{path} has no line {key:?}");
        fs::write(&full, text).expect(path);
    }

    /// The page, with this folder's own path taken off.
    pub(crate) fn page(&self, snapshot: &Snapshot) -> String {
        let mut text = Vec::new();
        render(snapshot, Format::OpenMetrics, "", &mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        text.replace(self.folder.path().to_str().expect("UTF-8"), "")
    }
}

/// A machine under watch: of every page it must hold that it adds up, and that nothing fell since the last.
pub(crate) struct Run {
    /// Its files.
    pub(crate) ground: Ground,
    /// What reads them.
    pub(crate) sampler: Sampler,
    /// The last page.
    pub(crate) page: Page,
    /// Its text.
    pub(crate) text: String,
}

impl Run {
    /// Ticks for the first time.
    pub(crate) fn start(ground: Ground) -> Run {
        let parts = ground.parts();
        Run::of(ground, parts)
    }

    /// The same, with parts that were tampered with.
    pub(crate) fn of(ground: Ground, parts: Parts) -> Run {
        let sampler = Sampler::new(parts);
        let mut run = Run { ground, sampler, page: Page::default(), text: String::new() };
        run.tick(at(0));
        run
    }

    /// Ticks once more.
    pub(crate) fn tick(&mut self, moment: Moment) {
        let snapshot = self.sampler.tick(moment);
        self.text = self.ground.page(&snapshot);
        let page = Page::parse(&self.text);
        let checked = page.and_then(|page| {
            check_identity(&page)?;
            check_rising(&self.page, &page)?;
            Ok(page)
        });
        let seconds = moment.monotonic.as_seconds() - BOOTED_SECONDS as f64;
        self.page = checked.unwrap_or_else(|error| panic!("{seconds} s: {error}\n{}", self.text));
    }
}

/// All three clocks so many seconds after the start.
pub(crate) fn at(seconds: u64) -> Moment {
    Moment {
        monotonic: Nanos::from_seconds(BOOTED_SECONDS + seconds),
        boottime: Nanos::from_seconds(BOOTED_SECONDS + seconds),
        wall: Nanos::from_seconds(WALL_SECONDS + seconds),
    }
}

/// A counter file, and where it stood.
struct Counter {
    file: File,
    bytes: Vec<u8>,
    kind: Kind,
}

/// How a counter is written.
enum Kind {
    /// As text.
    Text(u64),
    /// In amdgpu's table of version 1.4, in 2^-16 J, to keep up with this power.
    Table { units: u64, tenths_of_watts: u64 },
}

/// Where a table of version 1.4 has its power, in W, and its counter.
const TABLE_POWER: usize = 10;
const TABLE_ENERGY: usize = 24;

impl Counter {
    /// In one write, without an empty file in between.
    fn show(&self, added: u64, elapsed: Duration) {
        match self.kind {
            Kind::Text(start) => {
                let width = String::from_utf8_lossy(&self.bytes).trim_end().len();
                let text = format!("{:0width$}\n", start.saturating_add(added));
                self.file.write_all_at(text.as_bytes(), 0).expect("written");
            }
            Kind::Table { units, tenths_of_watts } => {
                let micros = u64::try_from(elapsed.as_micros()).expect("short");
                let units = units + tenths_of_watts * micros * 65_536 / 10_000_000;
                self.file.write_all_at(&units.to_le_bytes(), TABLE_ENERGY as u64).expect("written");
            }
        }
    }

    fn restore(&self) {
        self.file.write_all_at(&self.bytes, 0).expect("written");
        self.file.set_len(self.bytes.len() as u64).expect("cut");
    }
}

fn find_counters(directory: &Path, ground: &Ground, found: &mut Vec<Counter>) {
    let mut entries: Vec<_> = fs::read_dir(directory).expect("readable").flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let (kind, path) = (entry.file_type().expect("known"), entry.path());
        if kind.is_dir() {
            find_counters(&path, ground, found);
        } else if kind.is_file() && !ground.still.contains(&path) {
            let bytes = || fs::read(&path).unwrap_or_default();
            let kind = match entry.file_name().to_str() {
                Some("energy_uj") => {
                    String::from_utf8(bytes()).ok().and_then(|text| text.trim().parse().ok()).map(Kind::Text)
                }
                Some("gpu_metrics") => table(&bytes(), ground.slow.contains(&path)),
                _ => None,
            };
            if let Some(kind) = kind {
                let file = OpenOptions::new().write(true).open(&path).expect("writable");
                found.push(Counter { file, bytes: bytes(), kind });
            }
        }
    }
}

fn table(bytes: &[u8], is_slow: bool) -> Option<Kind> {
    let units = u64::from_le_bytes(bytes.get(TABLE_ENERGY..TABLE_ENERGY + 8)?.try_into().ok()?);
    let power = u16::from_le_bytes(bytes.get(TABLE_POWER..TABLE_POWER + 2)?.try_into().ok()?);
    let is_known = bytes[2..4] == [1, 4] && units < u64::MAX;
    is_known
        .then_some(Kind::Table { units, tenths_of_watts: u64::from(power) * if is_slow { 1 } else { 10 } })
}

/// Moves the counters on until it is over; returns the longest time they stood still.
fn advance(counters: &[Counter], is_in_step: bool, is_over: &AtomicBool) -> Duration {
    let began = Instant::now();
    let (mut last, mut longest) = (began, Duration::ZERO);
    let mut steps = 0;
    while !is_over.load(Ordering::Acquire) {
        steps += 1;
        for (place, counter) in (1..).zip(counters) {
            // Mirrored dies differ by a few units at most, others by far more in each interval.
            let size = if is_in_step { 100 } else { place * 10_000 };
            counter.show(steps * size, began.elapsed());
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        std::thread::sleep(STEP);
    }
    longest.max(last.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_a_shell() {
        assert_eq!(braces("a"), ["a"]);
        assert_eq!(braces("cpu{0..2}/x"), ["cpu0/x", "cpu1/x", "cpu2/x"]);
        assert_eq!(braces("{a,b}{0..1}"), ["a0", "a1", "b0", "b1"]);
    }

    #[test]
    fn a_host_is_laid_out_and_changes() {
        let host = "# a host\n== proc/stat\ncpu  9\ncpu0 1 2\ncpu10 7\n==\nsys/a/energy_uj = 5\n\
                    cgroup/{x,y}/f = 1\nsys/link -> a\n@ 5s..15s/5s\nproc/stat[cpu{0,10}] += 1_0\n\
                    sys/a/energy_uj += 5\n@ 20s\n- cgroup/x\n";
        let host = Host::parse(host).expect("a host");
        let ground = Ground::new(&host);
        let read = |path: &str| fs::read_to_string(ground.path(path)).ok();
        assert_eq!(read("sys/link/energy_uj").as_deref(), Some("5\n"));
        assert_eq!(host.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>(), [5, 10, 15, 20]);
        host.ticks.iter().for_each(|tick| ground.apply(&tick.1));
        assert_eq!(read("proc/stat").as_deref(), Some("cpu  9\ncpu0 31 2\ncpu10 37\n"));
        assert_eq!(read("sys/a/energy_uj").as_deref(), Some("20\n"));
        assert_eq!((read("cgroup/x/f"), read("cgroup/y/f").as_deref()), (None, Some("1\n")));
    }

    #[test]
    fn a_file_of_bytes_is_laid_out_and_counts() {
        let ground = Ground::of("sys/t <- 0102 ff*3 aB\n");
        assert_eq!(fs::read(ground.path("sys/t")).expect("there"), [1, 2, 255, 255, 255, 0xab]);
        ground.change("sys/t <- 07 00*7 ee\nsys/t[@0] += 65_536\n");
        assert_eq!(fs::read(ground.path("sys/t")).expect("there"), [7, 0, 1, 0, 0, 0, 0, 0, 0xee]);
    }

    #[test]
    fn a_line_that_means_nothing_is_an_error() {
        for text in ["x", "x <- 0g", "x <- 012", "@ soon", "@ 1s..2s", "a += b", "== x\nno end", "! unknown"]
        {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counters_advance_while_they_are_probed_and_stand_where_they_stood_after_it() {
        let ground = Ground::of("sys/a/energy_uj = 99\nsys/b/energy_uj = 7\n! still sys/b/energy_uj\n");
        let read = |path: &str| fs::read_to_string(ground.path(path)).unwrap();
        let seen = ground.while_advancing(|| {
            // The counters have a thread of their own, which comes to its turn when the machine lets it.
            let began = std::time::Instant::now();
            while read("sys/a/energy_uj") == "99\n" && began.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            (read("sys/a/energy_uj"), read("sys/b/energy_uj"))
        });
        assert!(seen.0.trim().parse::<u64>().unwrap() > 99, "{seen:?}");
        assert_eq!(seen.1, "7\n");
        assert_eq!((read("sys/a/energy_uj"), read("sys/b/energy_uj")), ("99\n".into(), "7\n".into()));
    }
}
