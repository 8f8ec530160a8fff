//! Power loss: every write of the real program to its store is recorded, and the files are rebuilt as a
//! disk may have them when the power fails at any moment. What was synced is there; of the rest any part,
//! in any order, the last sector torn. Whatever is found: counters go on from at least what was shown, or
//! start at 0 as a whole; and the history's sums hold.

use crate::bed::{Bed, empty_folder};
use crate::machine::Dice;
use crate::page::{Page, check_rising_over_a_restart};
use crate::reader::{info, start};
use crate::restart::just_booted;
use crate::rig::{Exporter, Setup, now_milliseconds, wait_for};
use jouleprint::model::quantity::Energy;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many moments of power loss.
const STATES: u64 = 160;

/// A disk writes this much at once, or not at all.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
    Unlink,
    Sync,
}

/// A call that changed one of the store's files.
#[derive(Debug, Clone)]
struct Call {
    /// When it had returned, in µs since 1970.
    at: u64,
    file: String,
    change: Change,
}

/// A page and when it had been read, in µs since 1970.
struct Shown {
    at: u64,
    page: Page,
}

fn traced(bed: &Bed, trace: &Path) -> Vec<String> {
    let file = bed.file().display().to_string();
    let mut command: Vec<String> =
        ["strace", "-D", "-f", "-y", "-ttt", "-xx", "-s", "65536", "-qqq", "--seccomp-bpf", "-e"]
            .map(str::to_owned)
            .to_vec();
    command.push(
        "trace=pwrite64,write,pwritev,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename".to_owned(),
    );
    for path in [file.clone(), format!("{file}-wal")] {
        command.extend(["-P".to_owned(), path]);
    }
    command.extend(["-o".to_owned(), trace.display().to_string()]);
    command
}

/// `\x41\x42` as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("two digits")).collect()
}

fn parse(trace: &str) -> Vec<Call> {
    trace.lines().filter_map(parse_line).collect()
}

/// `PID SECONDS.MICROSECONDS CALL(FD<PATH>, "BYTES", LENGTH, OFFSET) = RESULT`
fn parse_line(line: &str) -> Option<Call> {
    // A short process number has more than one blank after it.
    let (_, rest) = line.split_once(' ')?;
    let (time, call) = rest.trim_start().split_once(' ')?;
    let call = call.trim_start();
    if call.starts_with("+++") || call.starts_with("---") {
        return None;
    }
    let (call, result) = call.rsplit_once(" = ").unwrap_or_else(|| panic!("no whole call: {line:.200}"));
    if result.starts_with('-') {
        return None;
    }
    let (name, arguments) = call.split_once('(').expect("a call");
    let arguments = arguments.strip_suffix(')').expect("a call");
    let escaped =
        arguments.split(['<', '"']).nth(1).expect("a path").split(['>', '"']).next().expect("its end");
    let path = PathBuf::from(std::ffi::OsString::from_vec(unescaped(escaped)));
    let file = path.file_name().expect("a file").to_string_lossy().into_owned();
    let numbers: Vec<&str> = arguments.split(", ").collect();
    let number = |text: &&str| text.parse::<usize>().expect("a number");
    let change = match name {
        "pwrite64" => {
            let mut bytes = unescaped(arguments.split('"').nth(1).expect("the bytes"));
            bytes.truncate(result.parse().expect("a length"));
            Change::Write(numbers.last().map(number).expect("an offset"), bytes)
        }
        "ftruncate" => Change::Truncate(numbers.last().map(number).expect("a length")),
        "fsync" | "fdatasync" => Change::Sync,
        "unlink" => Change::Unlink,
        other => panic!("a call that is not thought of: {other}"),
    };
    let at = time.replace('.', "").parse().expect("µs");
    Some(Call { at, file, change })
}

/// A file, or none.
type Content = Option<Vec<u8>>;

fn apply(content: &mut Content, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let content = content.get_or_insert_default();
            if content.len() < offset + bytes.len() {
                content.resize(offset + bytes.len(), 0);
            }
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Change::Truncate(length) => content.get_or_insert_default().resize(*length, 0),
        Change::Unlink => *content = None,
        Change::Sync => {}
    }
}

/// The files as the disk may have them after the first `calls`.
fn after_power_loss(calls: &[Call], dice: &mut Dice) -> BTreeMap<String, Content> {
    let mut files: BTreeMap<String, (Content, Vec<&Change>)> = BTreeMap::new();
    for call in calls {
        let (durable, pending) = files.entry(call.file.clone()).or_default();
        match &call.change {
            Change::Sync => pending.drain(..).for_each(|change| apply(durable, change)),
            change => pending.push(change),
        }
    }
    let lose = |(durable, pending): (Content, Vec<&Change>), dice: &mut Dice| {
        let mut content = durable;
        let way = dice.roll(4);
        let kept = usize::try_from(dice.roll(pending.len() as u64 + 1)).expect("few");
        for (number, change) in pending.iter().enumerate() {
            let is_there = match way {
                0 => false,
                1 => true,
                2 => number < kept,
                _ => dice.roll(2) == 0,
            };
            // The one after the last that is whole may have come half.
            let torn = match change {
                Change::Write(offset, bytes) if way == 2 && number == kept => {
                    let whole =
                        usize::try_from(dice.roll(bytes.len() as u64 + 1)).expect("small") / SECTOR * SECTOR;
                    Some(Change::Write(*offset, bytes[..whole.min(bytes.len())].to_vec()))
                }
                _ => None,
            };
            match torn {
                Some(part) => apply(&mut content, &part),
                None if is_there => apply(&mut content, change),
                None => {}
            }
        }
        content
    };
    files.into_iter().map(|(name, file)| (name, lose(file, dice))).collect()
}

/// Two lives of the exporter with a clean stop each; what was written and what was shown.
fn record(bed: &Bed) -> (Vec<Call>, Vec<Shown>) {
    let (mut calls, mut shown) = (Vec::new(), Vec::new());
    for life in 0..2 {
        let trace = bed.home.path().join(format!("trace-{life}"));
        let under = traced(bed, &trace);
        let exporter = bed.start_as(&Setup { under: &under, ..bed.setup() });
        bed.machine.run(Some(10));
        let until = now_milliseconds() + 1_200;
        while now_milliseconds() < until {
            let page = exporter.page();
            bed.machine.seen(
                &page
                    .all("jouleprint_job_cpu_seconds_total", &[])
                    .iter()
                    .map(|job| job.labels["job_id"].as_str())
                    .collect(),
            );
            shown.push(Shown { at: now_milliseconds() * 1_000 + 999, page });
            std::thread::sleep(Duration::from_millis(20));
        }
        exporter.stop();
        calls.extend(parse(&whole(&trace)));
    }
    (calls, shown)
}

/// What the tracer has written. It stands beside the exporter, and on a busy machine ends some time after it.
fn whole(trace: &Path) -> String {
    let mut before = String::new();
    wait_for("a trace that is whole", || {
        let now = std::fs::read_to_string(trace).unwrap_or_default();
        let is_whole = !now.is_empty() && now == before && now.ends_with('\n');
        before.clone_from(&now);
        if !is_whole {
            std::thread::sleep(Duration::from_millis(200));
        }
        is_whole.then_some(now)
    })
}

/// Both ways of dividing the host's energy give the same; how much that is, in µJ.
fn check_history(folder: &Path, name: &str) -> Option<u64> {
    let history = match jouleprint::store::read(folder) {
        Ok(history) => history,
        Err(error) => {
            println!("crash: {name}: no history: {error}");
            return None;
        }
    };
    assert!(history.damaged.is_empty(), "{name}: {:?}", history.damaged);
    let of = |kind: &str| -> Energy {
        history.sums.iter().filter(|sum| &*sum.group.kind == kind).map(|sum| sum.energy).sum()
    };
    assert_eq!(of("account"), of("user"), "{name}");
    Some(of("account").as_micro())
}

#[test]
fn after_a_power_loss_at_any_moment_nothing_shown_is_taken_back() {
    let seed = crate::kill::number("SEED", now_milliseconds());
    let states = crate::kill::number("STATES", STATES);
    println!("crash: SEED={seed} STATES={states}");
    let mut dice = Dice::new(seed);
    let bed = Bed::new(seed, 4);
    let (calls, shown) = record(&bed);
    let syncs = calls.iter().filter(|call| matches!(call.change, Change::Sync)).count();
    println!("crash: {} calls, {syncs} syncs, {} pages", calls.len(), shown.len());
    assert!(calls.len() > 200 && syncs > 8 && shown.len() > 20, "there was something to lose");
    let last = |at: u64| shown.iter().rev().find(|shown| shown.at < at);
    bed.machine.reboot();
    let booted = just_booted();
    let setup = Setup { under: &booted, ..bed.setup() };
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut histories = BTreeSet::new();
    // The moments around each sync, and others.
    let moments: Vec<usize> = (0..calls.len())
        .filter(|&at| matches!(calls[at].change, Change::Sync))
        .flat_map(|at| [at, at + 1])
        .collect();
    for state in 0..states {
        let cut = match state {
            0 => calls.len(),
            _ if state % 2 == 0 => moments[usize::try_from(dice.roll(moments.len() as u64)).expect("few")],
            _ => usize::try_from(dice.roll(calls.len() as u64 + 1)).expect("few"),
        };
        let files = after_power_loss(&calls[..cut], &mut dice);
        let name = format!("state {state}, after {cut} of {} calls", calls.len());
        empty_folder(&bed.store());
        empty_folder(&bed.runtime());
        for (file, content) in &files {
            if let Some(content) = content {
                std::fs::write(bed.store().join(file), content).expect("written");
            }
        }
        histories.extend(check_history(&bed.store(), &name));
        let exporter: Exporter = bed.start_as(&setup);
        let page = exporter.page();
        let (how, reason) = info(&page);
        assert_eq!(reason, "", "{name}: {}", exporter.log());
        // What had been shown when the power failed: before the next call at the latest.
        let at = calls.get(cut).map_or(u64::MAX, |call| call.at);
        let before = last(at);
        if how.starts_with("continued") {
            let before = before.unwrap_or_else(|| panic!("{name}: nothing had been shown: {how}"));
            assert_eq!(start(&before.page), start(&page), "{name}: {how}");
            if let Err(error) = check_rising_over_a_restart(&before.page, &page) {
                panic!("{name}: {how}: {error}");
            }
        } else if let Some(before) = before {
            assert!(start(&page) > start(&before.page), "{name}: {how}");
            assert!(!how.contains("set aside"), "{name}: a power loss is no damage: {how}");
        }
        *ends.entry(how.split(" as jouleprint").next().unwrap_or_default().to_owned()).or_default() += 1;
        exporter.kill();
        check_history(&bed.store(), &format!("{name}, started"));
    }
    println!("crash: {states} states, {} different histories; {ends:#?}", histories.len());
    assert!(ends.keys().any(|how| how.starts_with("continued")), "a clean stop holds through a power loss");
    assert!(ends.len() > 2 && histories.len() > 5, "the states differ");
}
