//! What it costs to run jouleprint, beside floors measured in the same run: reading and accounting
//! against bare `pread`s of the same files, rendering against `memcpy` and a client library, and the
//! whole program with its defaults, scraped as Prometheus does.
//!
//! `cargo bench --bench cost [-- --short] [tick|processes|process-mode|render|push|whole|gpus|predict]`, as root, for it
//! makes real control groups. The machine may be noisy: floor and ours take turns in many short rounds and the
//! median of their ratios counts. Ratios are asserted, times and sizes are only printed.

mod bed;
mod exporter;

use bed::{Bed, Layout, Meters};
use exporter::Exporter;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use hyper::body::Body;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue};
use jouleprint::clock;
use jouleprint::config::Settings;
use jouleprint::config::flags::Flags;
use jouleprint::engine::prediction::course::MAX_POINTS;
use jouleprint::engine::prediction::predict;
use jouleprint::job::process::{Charge, Ground, Processes, stat};
use jouleprint::kernel_file::Buffer;
use jouleprint::model::quantity::{Energy, Nanos};
use jouleprint::model::snapshot::Snapshot;
use jouleprint::model::speech::{Point, STEP};
use jouleprint::output::catalogue::{Kind, Number, Sink, families};
use jouleprint::output::http::Site;
use jouleprint::output::otlp::baseline::Baselines;
use jouleprint::output::otlp::message::{Content, Cursor, MAX_MESSAGE_BYTES};
use jouleprint::output::otlp::wishes::Temporality;
use jouleprint::output::prometheus::{Format, render};
use jouleprint::sampler::Sampler;
use nvml_stand_in::board::Board;
use nvml_stand_in::scenario::{Process, Profile};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use prost::Message;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// A tick may take this many times as long as the bare reads of its files.
const TICK_BOUND: f64 = 2.0;

/// 25 times the processes may cost this many times as much.
const PROCESSES_BOUND: f64 = 1.25;

/// CPU seconds a minute that others have published for 50 pods with 1,000 processes.
const PUBLISHED: [(&str, f64); 4] =
    [("Scaphandre", 0.71), ("Kepler", 0.95), ("Alumet", 3.1), ("Alumet by cgroup", 0.124)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_short = arguments.iter().any(|argument| argument == "--short");
    let wanted = |part: &str| {
        let mut parts = arguments.iter().filter(|argument| !argument.starts_with("--")).peekable();
        parts.peek().is_none() || parts.any(|named| named == part)
    };
    let mut report = Report::default();
    let outcome = (|| {
        if wanted("tick") {
            ticks(&mut report)?;
        }
        if wanted("processes") {
            processes(&mut report)?;
        }
        if wanted("process-mode") {
            process_mode(&mut report)?;
        }
        if wanted("render") {
            rendering(&mut report)?;
        }
        if wanted("push") {
            pushing(&mut report)?;
            whole_with_pushes(&mut report, Duration::from_secs(if is_short { 20 } else { 60 }))?;
        }
        if wanted("predict") {
            predictions(&mut report);
        }
        if wanted("whole") {
            whole(&mut report, Duration::from_secs(if is_short { 20 } else { 60 }))?;
        }
        if wanted("gpus") {
            whole_with_gpus(&mut report, Duration::from_secs(if is_short { 20 } else { 60 }))?;
        }
        Ok::<(), String>(())
    })();
    report.print();
    if let Err(error) = outcome {
        eprintln!("cost: {error}");
        return ExitCode::FAILURE;
    }
    if report.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    for line in &report.broken {
        eprintln!("cost: {line}");
    }
    ExitCode::FAILURE
}

/// The table. A ratio beyond its bound breaks the run; a figure beyond its target is only marked.
#[derive(Default)]
struct Report {
    lines: Vec<[String; 5]>,
    broken: Vec<String>,
}

impl Report {
    fn ratio(&mut self, what: &str, ratio: f64, bound: f64, ours: String, beside: &str) {
        let verdict = if ratio <= bound { "holds" } else { "broken" };
        if ratio > bound {
            self.broken.push(format!("{what}: {ratio:.2} × is above {bound:.2} ×"));
        }
        let bound = format!("≤ {bound:.2} ×: {verdict}");
        self.line([what.to_owned(), format!("{ratio:.2} ×"), ours, beside.to_owned(), bound]);
    }

    fn figure(&mut self, what: &str, ours: String, beside: &str, target: Option<(&str, bool)>) {
        let target = target
            .map(|(target, is_met)| format!("{target}: {}", if is_met { "holds" } else { "does not hold" }));
        self.line([what.to_owned(), String::new(), ours, beside.to_owned(), target.unwrap_or_default()]);
    }

    /// Also shown at once: a run takes minutes.
    fn line(&mut self, line: [String; 5]) {
        eprintln!("{}", line.join(" | "));
        self.lines.push(line);
    }

    fn print(&self) {
        println!("| what | ratio | ours | beside | bound or target |\n|---|---|---|---|---|");
        for line in &self.lines {
            println!("| {} |", line.join(" | "));
        }
    }
}

/// One tick of the sampler, and the bare reads of the files it reads.
struct Pair {
    meters: Meters,
    sampler: Sampler,
    latest: Option<Snapshot>,
    paths: Vec<PathBuf>,
    files: Vec<File>,
    buffer: Vec<u8>,
}

/// Medians over the rounds, in ns, and of the rounds' ratios.
struct Medians {
    ours: f64,
    floor: f64,
    opening: f64,
    ratio: f64,
    to_opening: f64,
}

impl Pair {
    fn new() -> Result<Pair, String> {
        let meters = Meters::new().map_err(|error| format!("making a powercap tree: {error}"))?;
        let flags = Flags {
            sysfs: Some(meters.sysfs().to_owned()),
            cgroupfs: Some(bed::mount()?.to_owned()),
            ..Flags::default()
        };
        let settings = Settings::load(&flags).map_err(|error| error.to_string())?;
        // Which groups are looked at is told once, at the first reading; one sampler is spent on asking,
        // so that the floor reads the same files and no more.
        let tick = Sampler::new(meters.discover(&settings)?).read(clock::now());
        let births = tick.expect("the processors can be read").groups.births;
        let sampler = Sampler::new(meters.discover(&settings)?);
        let accounts = births.iter().map(|birth| {
            Ok::<_, String>(bed::mount()?.join(birth.path.trim_start_matches('/')).join("cpu.stat"))
        });
        let mut paths: Vec<PathBuf> = accounts.collect::<Result<_, _>>()?;
        paths.push("/proc/stat".into());
        paths.extend(meters.energies());
        // A group of somebody else may be gone by now.
        let files = paths.iter().filter_map(|path| File::open(path).ok()).collect();
        let header = sampler.header();
        let sources: Vec<&str> = header.machine.domains.iter().map(|domain| &*domain.source).collect();
        if sources != ["rapl", "rapl"] {
            return Err(format!("the powercap tree was not taken up: {sources:?}"));
        }
        Ok(Pair { meters, sampler, latest: None, paths, files, buffer: vec![0; 4096] })
    }

    /// The tick as the sampler's thread makes it, the end of the previous snapshot included.
    fn ours(&mut self) {
        self.latest = Some(self.sampler.tick(clock::now()));
    }

    /// The least that any program must do which reads these files: one `pread` each.
    fn floor(&mut self) {
        for file in &self.files {
            // A group of somebody else may have gone.
            let _ = black_box(file.read_at(&mut self.buffer, 0));
        }
    }

    /// The same without keeping descriptors.
    fn opening(&mut self) {
        for path in &self.paths {
            let _ = File::open(path).and_then(|file| black_box(file.read_at(&mut self.buffer, 0)));
        }
    }

    /// Takes turns, in another order each round. Before each of them all jobs have run, if they are busy.
    fn measure(&mut self, bed: &mut Bed, rounds: usize, is_busy: bool) -> Result<Medians, String> {
        const STEPS: [fn(&mut Pair); 3] = [Pair::ours, Pair::floor, Pair::opening];
        const WARM_UP: usize = 3;
        let mut took: [Vec<f64>; 3] = Default::default();
        for round in 0..WARM_UP + rounds {
            let mut of_round = [0.0; 3];
            for turn in 0..STEPS.len() {
                let step = (round + turn) % STEPS.len();
                if is_busy {
                    bed.poke()?;
                }
                self.meters.advance().map_err(|error| error.to_string())?;
                let began = Instant::now();
                STEPS[step](self);
                of_round[step] = began.elapsed().as_nanos() as f64;
            }
            if round >= WARM_UP {
                took.iter_mut().zip(of_round).for_each(|(all, one)| all.push(one));
            }
        }
        let [ours, floor, opening] = took;
        let ratios = |to: &[f64]| median(ours.iter().zip(to).map(|(ours, to)| ours / to).collect());
        Ok(Medians {
            ratio: ratios(&floor),
            to_opening: ratios(&opening),
            floor: median(floor),
            opening: median(opening),
            ours: median(ours),
        })
    }

    /// A bench of a tick that charges nobody would measure nothing.
    fn check_charged(&self, jobs: usize) -> Result<(), String> {
        let totals = &self.latest.as_ref().ok_or("no tick was made")?.totals;
        let charged = totals.job_table.energy.chunks(totals.columns.len().max(1));
        let charged = charged.filter(|row| row.iter().all(|energy| energy.as_micro() > 0)).count();
        if charged < jobs {
            return Err(format!("only {charged} of {jobs} jobs were charged with energy"));
        }
        Ok(())
    }
}

/// 1. What a tick costs beyond reading its files.
fn ticks(report: &mut Report) -> Result<(), String> {
    for (jobs, rounds) in [(250, 200), (1_000, 80)] {
        let mut bed = Bed::new("tick", jobs, Layout::Mixed)?;
        let mut pair = Pair::new()?;
        for (is_busy, state) in [(true, "all busy"), (false, "all asleep")] {
            let medians = pair.measure(&mut bed, if is_busy { rounds } else { rounds * 3 }, is_busy)?;
            pair.check_charged(bed.jobs())?;
            report.ratio(
                &format!("tick, {jobs} jobs, {state}"),
                medians.ratio,
                TICK_BOUND,
                milliseconds(medians.ours),
                &format!("{} for the bare reads", milliseconds(medians.floor)),
            );
            report.figure(
                &format!("the same beside open, read, close ({state})"),
                format!("{:.2} × of it", medians.to_opening),
                &milliseconds(medians.opening),
                None,
            );
        }
    }
    Ok(())
}

/// 2. Jobs cost, processes do not.
fn processes(report: &mut Report) -> Result<(), String> {
    const JOBS: usize = 200;
    const FEW: usize = 200;
    const MANY: usize = 5_000;
    const ROUNDS: usize = 60;
    let mut bed = Bed::new("processes", JOBS, Layout::Mixed)?;
    let mut pair = Pair::new()?;
    let mut took: [Vec<f64>; 2] = Default::default();
    // Few and many in turns, so that a machine that gets slower or faster meets both.
    for phase in 0..5 {
        let (processes, is_many) = if phase % 2 == 0 { (FEW, false) } else { (MANY, true) };
        bed.thin_out();
        bed.fill(processes)?;
        let counted = bed.counted();
        if counted != processes {
            return Err(format!("{counted} processes in the groups instead of {processes}"));
        }
        for _ in 0..ROUNDS {
            bed.poke()?;
            pair.meters.advance().map_err(|error| error.to_string())?;
            took[usize::from(is_many)].push(timed(|| pair.ours()));
        }
    }
    // Rounds cannot be paired here. What else runs on the machine only ever adds time, so the quick
    // ones tell what a tick itself takes.
    let [few, many] = took.map(|took| quantile(took, 0.2));
    report.ratio(
        &format!("tick, {JOBS} jobs, {MANY} processes against {FEW}"),
        many / few,
        PROCESSES_BOUND,
        milliseconds(many),
        &format!("{} with {FEW} processes", milliseconds(few)),
    );
    Ok(())
}

/// 2b. Processes instead of groups, beside one `pread` of each kept-open `stat`.
fn process_mode(report: &mut Report) -> Result<(), String> {
    for (processes, rounds) in [(1_000, 100), (5_000, 30)] {
        let mut bed = Bed::new("process-mode", 1, Layout::Mixed)?;
        bed.fill(processes)?;
        let ground = Ground { procfs: "/proc".into(), max_open: 16_384, cpus: 0, own: None };
        let mut ours = Processes::new(ground, Charge::Each(100));
        let mut buffer = Buffer::default();
        ours.collect(&mut buffer);
        // The same files and no more: kernel threads are not read again.
        let entries = std::fs::read_dir("/proc").map_err(|error| format!("reading /proc: {error}"))?;
        let paths = entries.flatten().map(|entry| entry.path().join("stat"));
        let mut bytes = vec![0; 4_096];
        let files: Vec<File> = paths
            .filter_map(|path| File::open(path).ok())
            .filter(|file| {
                let read = file.read_at(&mut bytes, 0).unwrap_or(0);
                stat::parse(&bytes[..read]).is_some_and(|stat| !stat.is_kernel)
            })
            .collect();
        if files.len() < processes || ours.state().observed < processes {
            return Err(format!("{} of {processes} processes are read", ours.state().observed));
        }
        let mut took: [Vec<f64>; 2] = Default::default();
        for round in 0..rounds + 3 {
            for turn in 0..2 {
                let step = (round + turn) % 2;
                let one = timed(|| match step {
                    0 => drop(black_box(ours.collect(&mut buffer))),
                    _ => files.iter().for_each(|file| {
                        // One of somebody else may have ended.
                        let _ = black_box(file.read_at(&mut bytes, 0));
                    }),
                });
                if round >= 3 {
                    took[step].push(one);
                }
            }
        }
        let [ours, floor] = took;
        report.ratio(
            &format!("process mode, {processes} processes"),
            median(ours.iter().zip(&floor).map(|(ours, floor)| ours / floor).collect()),
            TICK_BOUND,
            milliseconds(median(ours)),
            &format!("{} for the bare reads", milliseconds(median(floor))),
        );
    }
    Ok(())
}

/// 3. Writing the page.
fn rendering(report: &mut Report) -> Result<(), String> {
    const ROUNDS: usize = 150;
    let snapshot = page_of(10_000)?;
    let registry = as_client_library(&snapshot);
    let site_of = || {
        let latest = Arc::new(arc_swap::ArcSwapOption::from_pointee(snapshot.clone()));
        Site::new(latest, "/metrics".to_owned(), 0)
    };
    for format in Format::ALL {
        let name = format!("{format:?}");
        let mut text = Vec::new();
        let mut copy = Vec::new();
        let mut client = String::new();
        let mut took: [Vec<f64>; 4] = Default::default();
        let mut sizes = (0, 0);
        for _ in 0..ROUNDS {
            let render_ns = timed(|| render(&snapshot, format, "", &mut text));
            let copy_ns = timed(|| {
                copy.clear();
                copy.extend_from_slice(black_box(&text));
                black_box(&copy);
            });
            let client_ns = timed(|| {
                client.clear();
                encode(&mut client, &registry).expect("writing to a String does not fail");
            });
            let (site, headers) = (site_of(), headers(format));
            let gzip_ns = timed(|| {
                let response = site.answer(&Method::GET, "/metrics", &headers);
                sizes = (text.len() as u64, response.body().size_hint().lower());
            });
            took.iter_mut()
                .zip([render_ns, copy_ns, client_ns, gzip_ns])
                .for_each(|(all, one)| all.push(one));
        }
        let series = series_in(&text) as f64;
        let client_series = series_in(client.as_bytes()) as f64;
        let [render, copy, client, gzip] = took;
        let against = |to: &[f64]| median(render.iter().zip(to).map(|(ours, to)| ours / to).collect());
        let (to_copy, to_client) = (against(&copy), against(&client) * client_series / series);
        let (render, copy, client, gzip) = (median(render), median(copy), median(client), median(gzip));
        report.ratio(
            &format!("page, {name}, {series} series, against prometheus-client"),
            to_client,
            1.0,
            format!("{:.0} ns a series", render / series),
            &format!("{:.0} ns a series", client / client_series),
        );
        report.figure(
            &format!("page, {name}, {series} series"),
            milliseconds(render),
            &format!("{to_copy:.1} × memcpy of the same bytes ({})", milliseconds(copy)),
            Some(("≤ 1 ms", render <= 1e6)),
        );
        report.figure(
            &format!("page, {name}, with gzip, as the server makes it"),
            format!("{}, {:.0} ns a series", milliseconds(gzip), gzip / series),
            &format!(
                "{:.0} kB become {:.0} kB ({:.1} times smaller)",
                sizes.0 as f64 / 1e3,
                sizes.1 as f64 / 1e3,
                sizes.0 as f64 / sizes.1 as f64
            ),
            None,
        );
    }
    Ok(())
}

/// 4. Making a push.
fn pushing(report: &mut Report) -> Result<(), String> {
    const ROUNDS: usize = 150;
    let before = Arc::new(page_of(10_000)?);
    let snapshot = Snapshot::clone(&before);
    let resource = vec![0; 0];
    for (temporality, known) in [
        (Temporality::Cumulative, Vec::new()),
        (Temporality::Cumulative, vec![before]),
        (Temporality::Delta, Vec::new()),
    ] {
        let mut baselines = Baselines::default();
        let push = |baselines: &Baselines| {
            let content =
                Content { snapshot: &snapshot, known: &known, temporality, baselines, resource: &resource };
            let mut parts = Vec::new();
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                let part = content.part(from, MAX_MESSAGE_BYTES);
                cursor = part.next;
                parts.push(part);
            }
            parts
        };
        let first = push(&baselines);
        let points: usize = first.iter().map(|part| part.points).sum();
        let trees: Result<Vec<ExportMetricsServiceRequest>, _> =
            first.iter().map(|part| ExportMetricsServiceRequest::decode(&part.bytes[..])).collect();
        let trees = trees.map_err(|error| error.to_string())?;
        first.iter().for_each(|part| baselines.learn(&part.pushed));
        let (mut ours, mut floor, mut gzip) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(|| drop(black_box(push(&baselines)))));
            floor.push(timed(|| trees.iter().for_each(|tree| drop(black_box(tree.encode_to_vec())))));
            gzip.push(timed(|| {
                for part in &first {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
                    encoder.write_all(&part.bytes).expect("memory");
                    drop(black_box(encoder.finish()));
                }
            }));
        }
        let ratio = median(ours.iter().zip(&floor).map(|(ours, floor)| ours / floor).collect());
        let (ours, floor, gzip) = (median(ours), median(floor), median(gzip));
        let what = match (temporality, known.is_empty()) {
            (Temporality::Cumulative, true) => "first push",
            (Temporality::Cumulative, false) => "push after another",
            (Temporality::Delta | Temporality::LowMemory, _) => "push of differences",
        };
        report.ratio(
            &format!("{what}, {points} points, against prost's encoding of the finished tree"),
            ratio,
            1.5,
            milliseconds(ours),
            &milliseconds(floor),
        );
        report.figure(
            &format!("{what}: CPU without compression"),
            milliseconds(ours),
            &format!("gzip takes {} more", milliseconds(gzip)),
            Some(("≤ 5 ms", ours <= 5e6)),
        );
    }
    Ok(())
}

/// The whole program with and without pushes, to a backend that takes everything.
fn whole_with_pushes(report: &mut Report, span: Duration) -> Result<(), String> {
    let backend = exporter::take_everything().map_err(|error| format!("a backend: {error}"))?;
    let v2 = bed::mount()?.to_string_lossy().into_owned();
    let defaults = ["--path.cgroupfs".to_owned(), v2];
    let pushing = [&defaults[..], &["--otlp.endpoint".to_owned(), format!("http://{backend}")]].concat();
    let mut uses = Vec::new();
    for arguments in [&defaults[..], &pushing] {
        let mut bed = Bed::new("push", 1_000, Layout::Mixed)?;
        bed.fill(1_000)?;
        let mut exporter = Exporter::start(Path::new(env!("CARGO_BIN_EXE_jouleprint")), arguments)?;
        uses.push(exporter.observe(&mut bed, span)?);
    }
    let [without, with] = &uses[..] else { return Err("two runs".to_owned()) };
    report.figure(
        "1,000 jobs with pushes every 60 s: resident memory",
        format!("{:.1} MB", with.resident_kilobytes / 1e3),
        &format!("{:.1} MB without", without.resident_kilobytes / 1e3),
        Some(("≤ 16 MB", with.resident_kilobytes <= 16e3)),
    );
    let per_minute = |use_: &exporter::Use| use_.cpu_seconds * 60.0 / use_.seconds;
    report.figure(
        "1,000 jobs with pushes every 60 s: CPU seconds a minute",
        format!("{:.4}", per_minute(with)),
        &format!("{:.4} without", per_minute(without)),
        None,
    );
    Ok(())
}

/// A page of about so many series: jobs that have each used something.
fn page_of(series: usize) -> Result<Snapshot, String> {
    use jouleprint::model::identity::{JobId, JobKind};
    use jouleprint::model::quantity::{Energy, Nanos};
    use jouleprint::model::reading::{Birth, GroupReading, GroupRole, GroupSlot, Hierarchy, Tick, Value};

    /// Two of energy, two of emissions, CPU seconds and info.
    const SERIES_OF_A_JOB: usize = 6;
    let mut pair = Pair::new()?;
    let mut tick = pair.sampler.read(clock::now()).expect("the processors can be read");
    pair.ours();
    let template = pair.latest.take().ok_or("no tick was made")?;
    let header = pair.sampler.header();
    let jobs = u32::try_from(series / SERIES_OF_A_JOB).map_err(|error| error.to_string())?;
    let mut engine =
        jouleprint::engine::Engine::new(Arc::new(header.machine.clone()), header.accounting.clone());
    let uid = |job: u32| format!("{job:08x}-6a1d-4e0b-8c55-{:012x}", u64::from(job) * 0x9e37_79b9);
    tick.groups = jouleprint::model::reading::Groups::default();
    tick.groups.births = (0..jobs)
        .map(|job| Birth {
            slot: GroupSlot(job),
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(JobId::new(JobKind::Pod, &uid(job))),
            path: format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
                uid(job).replace('-', "_")
            )
            .as_str()
            .into(),
            inode: u64::from(job),
            user: None,
            is_new: true,
        })
        .collect();
    let energy = |joules: u64| Ok(Value::Counter(Energy::from_micro(joules * 1_000_000)));
    for (seconds, joules) in [(0, [1_000, 1_000]), (5, [1_400, 1_045])] {
        let step = |now: Nanos| Nanos::new(now.get() + seconds * 1_000_000_000);
        let readings = (0..jobs).map(|job| GroupReading {
            slot: GroupSlot(job),
            usage: Nanos::new(seconds * (1_000_000 + u64::from(job) * 997)),
            per_socket: None,
        });
        let mut at = tick.at;
        (at.monotonic, at.boottime, at.wall) = (step(at.monotonic), step(at.boottime), step(at.wall));
        let busy = tick.busy.iter().map(|busy| step(*busy)).collect();
        let groups = jouleprint::model::reading::Groups {
            readings: readings.collect(),
            ..std::mem::take(&mut tick.groups)
        };
        engine.step(&Tick { at, meters: joules.map(energy).to_vec(), busy, groups, ..tick.clone() });
    }
    Ok(Snapshot { totals: Arc::new(engine.totals()), ..template })
}

/// The series of a page in the words of the client library.
#[derive(Default)]
struct ClientLibrary {
    registry: Registry,
    name: &'static str,
    labels: &'static [&'static str],
    family: Family<Vec<(&'static str, String)>, Counter<f64, AtomicU64>>,
}

impl Sink for ClientLibrary {
    fn sample(&mut self, labels: &[&str], value: Number) {
        let labels = self.labels.iter().copied().zip(labels.iter().map(|label| (*label).to_owned()));
        let value = match value {
            Number::Whole(value) => value as f64,
            Number::Owed(value) => -(value as f64) / 1e6,
            Number::Over(value) => -(value as f64) / 1e9,
            Number::Milli(value) => value as f64 / 1e3,
            Number::Micro(value) => value as f64 / 1e6,
            Number::Nano(value) => value as f64 / 1e9,
        };
        self.family.get_or_create(&labels.collect()).inc_by(value);
    }

    fn histogram(&mut self, _: &[&str], _: &[u64], _: &[u64], _: u64) {}
}

/// Every counter, gauge and info as a `Family` of counters: their lines are the same but for the name.
fn as_client_library(snapshot: &Snapshot) -> Registry {
    let mut client = ClientLibrary::default();
    for family in families().filter(|family| family.kind != Kind::Histogram) {
        (client.name, client.labels, client.family) = (family.name, family.labels, Family::default());
        (family.collect)(snapshot, &mut client);
        client.registry.register(client.name, family.help, client.family.clone());
    }
    client.registry
}

/// 4. The program as it is started, with its defaults.
fn whole(report: &mut Report, span: Duration) -> Result<(), String> {
    const PROCESSES: usize = 1_000;
    let v2 = bed::mount()?.to_string_lossy().into_owned();
    let only_v2 = ["--path.cgroupfs".to_owned(), v2.clone()];
    let defaults: &[String] = &[];
    let mut runs = vec![("1,000 jobs", 1_000, Layout::Mixed, defaults)];
    if v2 != "/sys/fs/cgroup" {
        // On a hybrid host the defaults look at v1 as well; most hosts have v2 alone.
        runs = vec![
            ("1,000 jobs, v2 alone", 1_000, Layout::Mixed, &only_v2),
            ("1,000 jobs, hybrid", 1_000, Layout::Mixed, defaults),
        ];
    }
    let pods = if v2 == "/sys/fs/cgroup" { defaults } else { &only_v2 };
    runs.push(("50 pods, 1,000 processes", 50, Layout::Pods, pods));
    let keeps_nothing = [pods, &["--store.path".to_owned(), "none".to_owned()]].concat();
    runs.push(("1,000 jobs, no store", 1_000, Layout::Mixed, &keeps_nothing));
    runs.push(("250 jobs", 250, Layout::Mixed, pods));
    for (name, jobs, layout, arguments) in runs {
        let mut bed = Bed::new("whole", jobs, layout)?;
        bed.fill(PROCESSES)?;
        let mut exporter = Exporter::start(Path::new(env!("CARGO_BIN_EXE_jouleprint")), arguments)?;
        let use_ = exporter.observe(&mut bed, span)?;
        let (jobs_shown, per_minute) = (use_.jobs, use_.cpu_seconds * 60.0 / use_.seconds);
        if jobs_shown < bed.jobs() {
            return Err(format!("{name}: the page shows {jobs_shown} jobs of {}", bed.jobs()));
        }
        let is_large = jobs >= 1_000;
        let others: Vec<String> =
            PUBLISHED.iter().map(|(who, figure)| format!("{who} {:.0} ×", figure / per_minute)).collect();
        let beats = PUBLISHED.iter().all(|(_, figure)| *figure >= 10.0 * per_minute);
        report.figure(
            &format!("{name}: CPU seconds a minute"),
            format!("{per_minute:.4}"),
            &if is_large { format!("over {:.0} s", use_.seconds) } else { others.join(", ") },
            (!is_large).then_some(("a tenth of each", beats)),
        );
        report.figure(
            &format!("{name}: resident memory"),
            format!("{:.1} MB", use_.resident_kilobytes / 1e3),
            &format!("{:.1} MB of it anonymous", use_.anonymous_kilobytes / 1e3),
            Some(("≤ 16 MB", use_.resident_kilobytes <= 16e3)),
        );
        report.figure(
            &format!("{name}: bytes written a day"),
            format!("{:.0} MB", use_.written_bytes * 86_400.0 / use_.seconds / 1e6),
            &format!("{:.0} kB over {:.0} s", use_.written_bytes / 1e3, use_.seconds),
            None,
        );
        report.figure(
            &format!("{name}: scrape, median of {}", use_.scrapes.len()),
            milliseconds(median(use_.scrapes.clone())),
            &format!(
                "{} at the most, {:.0} kB compressed",
                milliseconds(use_.scrapes.iter().copied().fold(0.0, f64::max)),
                use_.page_bytes as f64 / 1e3
            ),
            Some(("≤ 2 ms", median(use_.scrapes.clone()) <= 2e6)),
        );
    }
    Ok(())
}

/// 6. The same with eight GPUs and without.
///
/// The library is the tests' own, which looks for its scenario and notes each call in a file: what that takes
/// is in the figure, and a real one's calls into the kernel are not.
fn whole_with_gpus(report: &mut Report, span: Duration) -> Result<(), String> {
    const JOBS: usize = 250;
    const GPUS: u32 = 8;
    let v2 = bed::mount()?.to_string_lossy().into_owned();
    let without = ["--path.cgroupfs".to_owned(), v2];
    // Whoever uses the library may write beneath /dev alone.
    let folder = tempfile::tempdir_in("/dev/shm").map_err(|error| format!("a folder: {error}"))?;
    let mut board = Board::of(folder.path(), GPUS);
    let library = board.library().display().to_string();
    let with = [&without[..], &["--nvml.library".to_owned(), library]].concat();
    let mut uses: [Vec<exporter::Use>; 2] = Default::default();
    // In turns, so that a machine that gets slower or faster meets both.
    for turn in 0..4 {
        let mut bed = Bed::new("gpus", JOBS, Layout::Mixed)?;
        let pids = bed.pids();
        board.change(|scenario| {
            for (number, device) in scenario.devices.iter_mut().enumerate() {
                device.profile = Some(Profile::constant(300_000));
                // Six are held by one each, one by four, and one by nobody.
                let held = [0..1, 1..2, 2..3, 3..4, 4..5, 5..6, 6..10, 0..0];
                let pids = pids[held[number].clone()].iter();
                device.processes = pids.map(|pid| Process { pid: *pid, ..Process::default() }).collect();
            }
        });
        let arguments = if turn % 2 == 0 { &without[..] } else { &with };
        let mut exporter = Exporter::start(Path::new(env!("CARGO_BIN_EXE_jouleprint")), arguments)?;
        uses[turn % 2].push(exporter.observe(&mut bed, span)?);
    }
    let mean = |uses: &[exporter::Use], of: fn(&exporter::Use) -> f64| {
        uses.iter().map(of).sum::<f64>() / uses.len() as f64
    };
    let [without, with] = &uses;
    let calls = board.calls().len() as f64 / with.iter().map(|use_| use_.seconds).sum::<f64>();
    let per_minute = |use_: &exporter::Use| use_.cpu_seconds * 60.0 / use_.seconds;
    let (ours, beside) = (mean(with, per_minute), mean(without, per_minute));
    report.figure(
        &format!("{JOBS} jobs with {GPUS} GPUs: CPU seconds a minute"),
        format!("{ours:.4}, {:.2} × of it without", ours / beside),
        &format!("{beside:.4} without; {calls:.1} calls of the library a second"),
        None,
    );
    let (ours, beside) =
        (mean(with, |use_| use_.resident_kilobytes), mean(without, |use_| use_.resident_kilobytes));
    report.figure(
        &format!("{JOBS} jobs with {GPUS} GPUs: resident memory"),
        format!("{:.1} MB", ours / 1e3),
        &format!("{:.1} MB without", beside / 1e3),
        Some(("≤ 16 MB", ours <= 16e3)),
    );
    let scrapes =
        |uses: &[exporter::Use]| median(uses.iter().flat_map(|use_| use_.scrapes.iter().copied()).collect());
    report.figure(
        &format!("{JOBS} jobs with {GPUS} GPUs: scrape, median"),
        milliseconds(scrapes(with)),
        &format!("{} without", milliseconds(scrapes(without))),
        Some(("≤ 2 ms", scrapes(with) <= 2e6)),
    );
    Ok(())
}

fn headers(format: Format) -> HeaderMap {
    let accept = match format {
        Format::Text => "text/plain;version=0.0.4",
        Format::OpenMetrics => "application/openmetrics-text;version=1.0.0",
    };
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static(accept)),
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
    ])
}

fn series_in(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}

/// The whole of one job from the longest course that is kept of it: what a job adds that says how far it is.
fn predictions(report: &mut Report) {
    const ROUNDS: u64 = 400;
    const TARGET_MILLISECONDS: f64 = 2.0;
    let mut chance = clock::Jitter::from_seed(1);
    let mut point = Point { at: Nanos::ZERO, done: 0, energy: Energy::ZERO };
    let points: Vec<Point> = (0..MAX_POINTS)
        .map(|_| {
            point.at += Nanos::new(5_000_000_000 + chance.below(500_000_000));
            point.energy += Energy::from_micro(100_000_000 + chance.below(20_000_000));
            point.done += STEP;
            point
        })
        .collect();
    let total = STEP * MAX_POINTS as u64 * 10;
    let predicted = |seed: u64| {
        timed(|| {
            black_box(predict(black_box(&points), total, seed));
        })
    };
    let took: Vec<f64> = (0..ROUNDS).map(predicted).collect();
    let median = median(took);
    let is_met = median / 1e6 <= TARGET_MILLISECONDS;
    report.figure(
        &format!("a prediction from {MAX_POINTS} points"),
        milliseconds(median),
        "",
        Some(("≤ 2 ms", is_met)),
    );
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among the values")]
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn milliseconds(nanoseconds: f64) -> String {
    format!("{:.3} ms", nanoseconds / 1e6)
}
