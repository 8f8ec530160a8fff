//! Somebody who reads the exporter all the time and believes no page: each must add up, and none may fall
//! behind one that was shown before, whatever process showed it.

use crate::http;
use crate::machine::{Machine, Truth};
use crate::page::{Page, check_identity, check_rising, check_rising_over_a_restart};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two readings.
const PAUSE: Duration = Duration::from_millis(3);

/// A job that has ended stays on the page for so long.
const RETENTION: Duration = Duration::from_secs(300);

const JOB: &str = "jouleprint_job_cpu_seconds_total";
const START: &str = "jouleprint_counters_start_timestamp_seconds";

/// What was read so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) pages: u64,
    pub(crate) last: Option<Page>,
    /// How long the slowest answer took.
    pub(crate) slowest: Duration,
    /// The longest time in which no newer page came.
    pub(crate) stillest: Duration,
    /// How often counters started at 0 again.
    pub(crate) starts: u64,
    /// Pages on which the store was said to be out of order.
    pub(crate) ailing: u64,
}

/// The reader; it must be told to finish, and panics then if something was wrong.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    machine: Option<Arc<Machine>>,
    may_start_anew: bool,
    stop: AtomicBool,
    process: AtomicU64,
    report: Mutex<Report>,
}

impl Reader {
    /// Counters may never start again.
    pub(crate) fn start(address: SocketAddr, machine: &Arc<Machine>) -> Reader {
        Reader::begin(address, machine, false)
    }

    /// Counters may start at 0 again, and then all of them.
    pub(crate) fn forgiving(address: SocketAddr, machine: &Arc<Machine>) -> Reader {
        Reader::begin(address, machine, true)
    }

    fn begin(address: SocketAddr, machine: &Arc<Machine>, may_start_anew: bool) -> Reader {
        let shared = Arc::new(Shared {
            address,
            machine: Some(Arc::clone(machine)),
            may_start_anew,
            stop: AtomicBool::new(false),
            process: AtomicU64::new(0),
            report: Mutex::default(),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read()
        });
        Reader { shared, thread: Some(thread) }
    }

    /// The process is gone; what is read from now on is from another one.
    pub(crate) fn next_process(&self) {
        self.shared.process.fetch_add(1, Ordering::SeqCst);
        self.check();
    }

    /// What was read so far.
    pub(crate) fn report(&self) -> Report {
        self.check();
        self.shared.report.lock().expect("checked").clone()
    }

    fn check(&self) {
        let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        assert!(!is_over, "the reader has found something wrong: see above");
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Report {
        self.shared.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().expect("not finished twice").join();
        ended.expect("the reader has found something wrong: see above");
        self.shared.report.lock().expect("nobody else").clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn read(&self) {
        let mut first_seen: BTreeMap<String, Instant> = BTreeMap::new();
        let mut before: Option<(u64, Page)> = None;
        let mut newest = (0, Instant::now());
        while !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
            let (process, asked) = (self.process.load(Ordering::SeqCst), Instant::now());
            let Some(text) = page_text(self.address) else {
                newest.1 = Instant::now();
                continue;
            };
            let took = asked.elapsed();
            // Whose page it is cannot be told if the process changed meanwhile: then it is nobody's.
            let process = if process == self.process.load(Ordering::SeqCst) { process } else { u64::MAX };
            let page = Page::parse_text(&text).and_then(|page| check_identity(&page).map(|()| page));
            let page = page.unwrap_or_else(|error| panic!("{error}\n{text}"));
            let is_anew = before.as_ref().is_some_and(|(_, before)| start(before) != start(&page));
            assert!(!is_anew || self.may_start_anew, "counters start again: {:?}", info(&page));
            if let Some((earlier, before)) = before.as_ref().filter(|_| !is_anew) {
                let is_same = process == *earlier && process != u64::MAX;
                let rises = if is_same { check_rising } else { check_rising_over_a_restart };
                if let Err(error) = rises(before, &page) {
                    panic!("process {earlier} → {process}: {error}; {:?} → {:?}", info(before), info(&page));
                }
                check_presence(before, &page, &first_seen);
            }
            let ids: BTreeSet<&str> =
                page.all(JOB, &[]).into_iter().map(|sample| sample.labels["job_id"].as_str()).collect();
            for id in &ids {
                first_seen.entry((*id).to_owned()).or_insert_with(Instant::now);
            }
            if let Some(machine) = &self.machine {
                machine.seen(&ids);
            }
            let moment = crate::rig::timestamp_milliseconds(&page);
            let still = newest.1.elapsed();
            if moment > newest.0 {
                newest = (moment, Instant::now());
            }
            let mut report = self.report.lock().expect("nobody panics with it");
            report.pages += 1;
            report.starts += u64::from(is_anew);
            report.slowest = report.slowest.max(took);
            report.stillest = report.stillest.max(still);
            report.ailing += u64::from(page.value("jouleprint_store_up", &[]) == Some("0"));
            report.last = Some(page.clone());
            drop(report);
            before = Some((process, page));
        }
    }
}

/// The whole page, if there is one to be had: a process may end in the middle of it.
fn page_text(address: SocketAddr) -> Option<String> {
    let answer = http::request(address, "GET", "/metrics", &[]).ok()?;
    let length: usize = answer.header("content-length")?.parse().ok()?;
    (answer.status == 200 && answer.body.len() == length).then(|| answer.text().to_owned())
}

/// A job may leave the page a retention after it was first seen at the earliest.
fn check_presence(before: &Page, after: &Page, first_seen: &BTreeMap<String, Instant>) {
    let now: BTreeSet<&str> =
        after.all(JOB, &[]).into_iter().map(|sample| sample.labels["job_id"].as_str()).collect();
    for sample in before.all(JOB, &[]) {
        let id = sample.labels["job_id"].as_str();
        let was_seen = first_seen.get(id).map_or(Duration::ZERO, Instant::elapsed);
        assert!(now.contains(id) || was_seen >= RETENTION, "{id} left the page after {was_seen:?}");
    }
}

/// Since when its counters count.
pub(crate) fn start(page: &Page) -> u128 {
    page.sum(START, &[])
}

/// What the page says of its store: how it was taken up, and what is wrong.
pub(crate) fn info(page: &Page) -> (String, String) {
    let stores = page.all("jouleprint_store_info", &[]);
    let label =
        |name: &str| stores.first().and_then(|sample| sample.labels.get(name).cloned()).unwrap_or_default();
    (label("restored"), label("reason"))
}

/// By how much the meters were ahead of the page when it was counted from 0, in µJ.
pub(crate) fn base(page: &Page, truth: &Truth) -> BTreeMap<&'static str, u64> {
    let ahead = |(id, total): (&&'static str, &u64)| (*id, total - energy(page, id));
    truth.energy.iter().map(ahead).collect()
}

/// A meter's energy, in µJ.
pub(crate) fn energy(page: &Page, hw_id: &str) -> u64 {
    let nano = page.sum("hw_energy_joules_total", &[("hw_id", hw_id)]);
    u64::try_from(nano / 1_000).expect("a small machine")
}

/// A job's CPU time, in µs; `None` if it is not on the page.
pub(crate) fn cpu(page: &Page, id: &str) -> Option<u64> {
    let found = page.all(JOB, &[("job_id", id)]);
    let sample = found.first()?;
    assert_eq!(sample.nano() % 1_000, 0, "the kernel counts in µs");
    Some(u64::try_from(sample.nano() / 1_000).expect("a short life"))
}

/// The page says what is true, to the µJ and the µs. The page must be younger than the truth, and nothing
/// may have happened since.
pub(crate) fn check_truth(page: &Page, truth: &Truth, base: &BTreeMap<&'static str, u64>) {
    for (id, total) in &truth.energy {
        assert_eq!(energy(page, id), total - base[id], "{id}; store {:?}", info(page));
    }
    for (id, used) in &truth.jobs {
        assert_eq!(cpu(page, id), Some(*used), "{id}, which lives; store {:?}", info(page));
    }
    // A parent's account is read after its children's. What they used between is taken for the last trace of
    // one that died in that tick, and is made up for by the next to die: of one it may be a stall of this
    // machine's, of all together it is little.
    let mut all = (0, 0);
    for (id, used) in &truth.dead {
        let charged = cpu(page, id).unwrap_or(0);
        assert!(charged <= used + 300_000, "{id}, which is dead, has {charged} of its {used} µs");
        all = (all.0 + charged, all.1 + used);
    }
    let (charged, used) = all;
    assert!(charged <= used + used / 50 + 300_000, "the dead have {charged} of their {used} µs");
}
