//! Days of asking in made-up time: outages, pauses, reloads, restarts, and what is logged of them.

mod news;
mod parts;
mod place;

use super::*;
use crate::carbon::chain::{Limits, hours};
use crate::carbon::location::labels::Labels;
use crate::carbon::provider::{Ask, Heard, IntensityProvider, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality, Sample, Series, Signal, Step};
use crate::model::quantity::Intensity;
use crate::model::reading::Fault;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// A whole hour, the 22nd of November 2026 at 14:00 UTC.
const NOON: Nanos = Nanos::from_seconds(1_795_356_000);

type Answering = Box<dyn Fn(Ask) -> Result<Vec<Series>, Refusal> + Send>;

/// What a made-up provider answers, and what it was asked.
#[derive(Default)]
struct Script {
    answer: Option<Answering>,
    asked: Vec<Ask>,
    missed: Option<Refusal>,
}

type Shared = Arc<Mutex<Script>>;

struct MadeUp {
    zone: String,
    cadence: Duration,
    script: Shared,
    missed: Option<Refusal>,
}

impl IntensityProvider for MadeUp {
    fn source(&self) -> &'static str {
        "made_up"
    }

    fn zone(&self) -> &str {
        &self.zone
    }

    fn cadence(&self) -> Duration {
        self.cadence
    }

    fn missed(&self) -> Option<&Refusal> {
        self.missed.as_ref()
    }

    fn fetch<'a>(&'a mut self, _: &'a Client, ask: Ask) -> Heard<'a> {
        let mut script = self.script.lock().expect("not poisoned");
        script.asked.push(ask);
        self.missed = script.missed.clone();
        let answer = script.answer.as_ref().map_or(Ok(Vec::new()), |answer| answer(ask));
        Box::pin(std::future::ready(answer))
    }
}

/// Opens one made-up provider, for whatever place.
fn opening(script: &Shared, cadence_seconds: u64) -> Open {
    let script = Arc::clone(script);
    Arc::new(move |_, place| {
        vec![Ok(Box::new(MadeUp {
            zone: place.zone.to_string(),
            cadence: Duration::from_secs(cadence_seconds),
            script: Arc::clone(&script),
            missed: None,
        }))]
    })
}

fn setting(zone: &str) -> Setting {
    Setting {
        choice: Choice::Zone { zone: zone.to_owned(), basis: None },
        pue: None,
        wishes: Wishes::default(),
        kept: None,
    }
}

fn lookout(script: &Shared, setting: Setting, now: Nanos) -> Lookout {
    Lookout::restored(setting, opening(script, 900), None, now).expect("the place is configured")
}

/// A figure for each hour of the day.
fn of_hour(time: Nanos) -> u32 {
    let hour = u32::try_from(time.get() / hours(1).get() % 24).expect("an hour");
    100 + 10 * hour
}

/// The hours that were over at `ask.now`, as measured; the others, if they are wanted, as forecasts.
fn hourly(ask: Ask) -> Result<Vec<Series>, Refusal> {
    let mut samples = Vec::new();
    let mut start = Nanos::new(ask.from.get() - ask.from.get() % hours(1).get());
    while start + hours(1) <= ask.now.max(ask.until) {
        let is_over = start + hours(1) <= ask.now;
        samples.push(Sample {
            start,
            end: start + hours(1),
            intensity: Intensity::from_milligrams(of_hour(start) * 1_000).expect("plausible"),
            quality: if is_over { Quality::Measured } else { Quality::Forecast },
            fetched: ask.now,
        });
        start += hours(1);
    }
    Ok(vec![Series {
        source: "made_up".into(),
        zone: "X".into(),
        signal: Signal::Average,
        basis: Basis::Lifecycle,
        accounting: Boundary::Consumption,
        samples,
    }])
}

fn refusal(fault: Fault, retry_after: Option<u64>) -> Refusal {
    Refusal {
        fault,
        message: "asking made_up: it does not answer".to_owned(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Goes through made-up time, a turn whenever one is due.
async fn pass(lookout: &mut Lookout, from: Nanos, until: Nanos) -> Nanos {
    let mut now = from;
    while now < until {
        lookout.turn(now).await;
        now = lookout.next().expect("there is a provider").max(now + Nanos::from_seconds(1));
    }
    now
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = self.0.lock().expect("not poisoned").clone();
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect()
    }
}

fn logged<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    (result, log.lines())
}

#[test]
fn an_outage_of_a_day_is_bridged_and_leaves_the_past_as_it_was() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(|ask| {
        let is_out = ask.now > NOON && ask.now < NOON + hours(24);
        if is_out {
            Err(refusal(Fault::Timeout, None))
        } else {
            hourly(Ask { until: ask.until.min(ask.now + hours(6)), ..ask })
        }
    }));
    let begin = NOON.saturating_sub(hours(96));
    let ((), lines) = logged(|| {
        block(async {
            let mut lookout = lookout(&script, setting("FR"), begin);
            let resumed = pass(&mut lookout, begin, NOON).await;
            let before = lookout.grid(NOON).plan;
            let now = pass(&mut lookout, resumed, NOON + hours(23)).await;
            assert!(now <= NOON + hours(25));
            let during = lookout.grid(NOON + hours(23)).plan;
            let step =
                |time: Nanos| (during.at(time).fallback, during.at(time).intensity.as_milligrams() / 1_000);
            let minute = |minutes: u64| NOON + Nanos::from_seconds(60 * minutes);
            // What ended at 14:00 was not heard any more.
            assert_eq!(step(NOON.saturating_sub(hours(2))), (Step::Wanted, 220));
            assert_eq!(step(minute(0)), (Step::Last, 220), "what ended at 13:00, for three hours");
            assert_eq!(step(minute(115)), (Step::Last, 220));
            assert_eq!(step(minute(120)), (Step::Forecast, of_hour(minute(120))));
            assert_eq!(step(minute(180)), (Step::Forecast, of_hour(minute(180))));
            assert_eq!(step(minute(12 * 60)), (Step::Profile, of_hour(minute(12 * 60))));
            assert_eq!(step(minute(22 * 60)).0, Step::Profile);
            let grid = lookout.grid(NOON + hours(23));
            assert_eq!(grid.sources[0].fault, Some(Fault::Timeout), "and it is said");
            let failures = grid.sources[0].errors[0].1;
            assert!((20..=30).contains(&failures), "{failures}: by and by once an hour");
            let resumed = now;
            pass(&mut lookout, resumed, NOON + hours(27)).await;
            let after = lookout.grid(NOON + hours(27));
            assert_eq!(after.sources[0].fault, None);
            // The past that was known is what it was, and what was guessed is known now.
            let mut time = NOON.saturating_sub(hours(40));
            while time < NOON + hours(24) {
                if before.at(time).fallback == Step::Wanted {
                    assert_eq!(before.at(time), after.plan.at(time));
                }
                assert_eq!(after.plan.at(time).fallback, Step::Wanted, "{time:?}");
                time += GRAIN;
            }
        });
    });
    let lines: Vec<&String> = lines.iter().filter(|line| line.contains("made_up")).collect();
    assert_eq!(lines.len(), 2, "one when it begins, one when it ends: {lines:#?}");
    assert!(lines[0].contains("WARN") && lines[1].contains("answers again"), "{lines:#?}");
}

#[test]
fn without_forecast_and_profile_the_year_takes_over() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(|ask| {
        if ask.now > NOON {
            Err(refusal(Fault::Unreachable, None))
        } else {
            hourly(Ask { until: ask.now, ..ask })
        }
    }));
    let limits = Limits { profile_days: None, ..Limits::default() };
    let wishes = Wishes { chain: limits, ..Wishes::default() };
    block(async {
        let mut lookout = lookout(&script, Setting { wishes, ..setting("FR") }, NOON);
        pass(&mut lookout, NOON, NOON + hours(8)).await;
        let plan = lookout.grid(NOON + hours(8)).plan;
        assert_eq!(plan.at(NOON + hours(2)).fallback, Step::Last);
        assert_eq!(plan.at(NOON + hours(7)).fallback, Step::Table);
    });
}

#[test]
fn nobody_is_asked_oftener_than_is_allowed_and_all_is_asked_for_now_and_then() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    block(async {
        let mut lookout = lookout(&script, setting("FR"), NOON);
        pass(&mut lookout, NOON, NOON + hours(26)).await;
    });
    let asked = std::mem::take(&mut script.lock().expect("not poisoned").asked);
    for pair in asked.windows(2) {
        let pause = pair[1].now.saturating_sub(pair[0].now);
        assert!(pause >= Nanos::from_seconds(900) && pause < Nanos::from_seconds(1_800), "{pause:?}");
    }
    for ask in &asked[1..] {
        let after_slot = ask.now.get() % Nanos::from_seconds(900).get();
        assert!((Nanos::from_seconds(20).get()..Nanos::from_seconds(150).get()).contains(&after_slot));
        assert!(ask.now.saturating_sub(ask.from) >= hours(6), "revisions are seen");
    }
    let all = asked.iter().filter(|ask| ask.from == ask.now.saturating_sub(hours(72))).count();
    assert_eq!(all, 3, "at the start and every 12 h");
    let forecasts = asked.iter().filter(|ask| ask.until > ask.now).count();
    assert!((20..=27).contains(&forecasts), "{forecasts} forecasts, about one an hour");
}

#[test]
fn a_question_that_comes_late_is_no_reason_to_leave_out_the_next() {
    const CADENCE: u64 = 900;
    for late in [5, 150, 1_000] {
        let script = Shared::default();
        script.lock().expect("unused").answer = Some(Box::new(hourly));
        block(async {
            let mut lookout = lookout(&script, setting("FR"), NOON);
            let mut now = NOON;
            for round in 0..200 {
                lookout.turn(now).await;
                let millis = if round % 3 == 0 { 1 } else { late };
                now = lookout.next().expect("a provider") + Nanos::new(millis * 1_000_000);
            }
        });
        let asked = std::mem::take(&mut script.lock().expect("not poisoned").asked);
        let pauses: Vec<u64> = asked
            .windows(2)
            .skip(1)
            .map(|pair| pair[1].now.saturating_sub(pair[0].now).get() / 1_000_000)
            .collect();
        assert!(pauses.iter().all(|pause| *pause >= CADENCE * 1_000 - late), "{late} ms: {pauses:?}");
        let mean = pauses.iter().sum::<u64>() / u64::try_from(pauses.len()).expect("few");
        assert!(mean.abs_diff(CADENCE * 1_000) <= 10, "{late} ms: a mean of {mean} ms");
    }
    // Who was kept waiting for long, as by a suspended machine, is not asked twice in short order.
    let script = Shared::default();
    block(async {
        let mut lookout = lookout(&script, setting("FR"), NOON);
        lookout.turn(NOON).await;
        let now = lookout.next().expect("a provider") + Nanos::from_seconds(CADENCE - 1);
        lookout.turn(now).await;
        let pause = lookout.next().expect("a provider").saturating_sub(now);
        assert!(pause >= Nanos::from_seconds(CADENCE * 9 / 10), "{pause:?}");
    });
}

#[test]
fn a_restart_is_no_reason_to_ask_again() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    block(async {
        let mut before = Lookout::found(setting_open(), opening(&script, 900), found("FR", "aws"), NOON);
        before.wait(Duration::from_secs(2), NOON);
        assert_eq!(
            before.next(),
            Some(NOON + Nanos::from_seconds(2)),
            "nothing is known, and nobody hurries"
        );
        before.turn(NOON + Nanos::from_seconds(2)).await;
        let kept = before.kept().expect("worth keeping");
        let restarted = |now: Nanos| {
            let kept = Some(kept.clone());
            let mut lookout =
                Lookout::restored(setting_open(), opening(&script, 900), kept, now).expect("kept");
            lookout.wait(Duration::from_millis(250), now);
            lookout.next()
        };
        assert_eq!(restarted(NOON + Nanos::from_seconds(300)), Some(NOON + Nanos::from_seconds(902)));
        assert_eq!(
            restarted(NOON + hours(2)),
            Some(NOON + hours(2) + Nanos::new(250_000_000)),
            "its time has come meanwhile"
        );
        // A reload knows besides what was asked for.
        before.take_up(setting_open(), None, NOON + Nanos::from_seconds(10));
        let now = before.next().expect("a provider");
        before.turn(now).await;
    });
    let asked = std::mem::take(&mut script.lock().expect("not poisoned").asked);
    assert!(asked[1].from > asked[1].now.saturating_sub(hours(72)), "not for all again");
    assert_eq!(asked[1].until, asked[1].now, "nor for a forecast");
}

fn setting_open() -> Setting {
    Setting { choice: Choice::Unknown, ..setting("FR") }
}

#[test]
fn what_is_wrong_decides_how_long_a_provider_is_left_alone() {
    for (fault, retry_after, times, least, most) in [
        (Fault::Timeout, None, 1, 900, 990),
        (Fault::Timeout, None, 2, 1_800, 1_980),
        (Fault::Timeout, None, 9, 3_600, 3_960),
        (Fault::Malformed, None, 1, 900, 990),
        (Fault::Unreachable, None, 1, 60, 66),
        (Fault::Unreachable, None, 3, 240, 264),
        (Fault::Unreachable, None, 12, 3_600, 3_960),
        (Fault::PermissionDenied, None, 1, 3_600, 3_960),
        (Fault::Limit, Some(7_200), 1, 7_200, 7_920),
        (Fault::Limit, Some(5), 1, 900, 990),
        (Fault::PermissionDenied, Some(5), 1, 3_600, 3_960),
        (Fault::PermissionDenied, Some(7_200), 1, 7_200, 7_920),
        (Fault::Inactive, Some(60), 1, 60, 66),
        (Fault::Inactive, Some(1), 3, 60, 66),
        (Fault::Inactive, None, 1, 900, 990),
        (Fault::Limit, Some(u64::MAX), 1, 86_400, 95_040),
    ] {
        let script = Shared::default();
        script.lock().expect("unused").answer = Some(Box::new(move |_| Err(refusal(fault, retry_after))));
        let pause = block(async {
            let mut lookout = lookout(&script, setting("FR"), NOON);
            let mut now = NOON;
            for _ in 0..times {
                now = lookout.next().expect("a provider");
                assert!(!lookout.turn(now).await);
                let asked = script.lock().expect("not poisoned").asked.len();
                lookout.turn(now).await;
                assert_eq!(script.lock().expect("not poisoned").asked.len(), asked, "not before its time");
            }
            lookout.next().expect("a provider").saturating_sub(now)
        });
        let range = Nanos::from_seconds(least)..=Nanos::from_seconds(most);
        assert!(range.contains(&pause), "{fault:?} {retry_after:?} the {times}th time: {pause:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let script = Shared::default();
    block(async {
        let mut lookout = lookout(&script, setting("FR"), NOON);
        lookout.turn(NOON).await;
        lookout.turn(NOON.saturating_sub(hours(100))).await;
    });
    assert_eq!(script.lock().expect("not poisoned").asked.len(), 2);
}

#[test]
fn a_new_setting_keeps_what_is_still_true() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    block(async {
        let mut lookout = lookout(&script, setting("FR"), NOON);
        lookout.turn(NOON).await;
        let due = lookout.next();
        let pue = Pue::parse("1.5").expect("valid");
        lookout.take_up(Setting { pue: Some(pue), ..setting("FR") }, None, NOON);
        assert_eq!(lookout.next(), due, "a reload is no reason to ask");
        let grid = lookout.grid(NOON);
        let factor = grid.plan.at(NOON);
        assert_eq!((factor.fallback, factor.pue), (Step::Last, pue));
        lookout.take_up(setting("DE"), None, NOON);
        let grid = lookout.grid(NOON);
        assert_eq!((&*grid.place.zone, grid.plan.at(NOON).fallback), ("DE", Step::Table));
        assert_eq!(lookout.next(), Some(NOON), "another zone is another question");
        // One that is parked is asked at once: its key may have been mended.
        script.lock().expect("not poisoned").answer =
            Some(Box::new(|_| Err(refusal(Fault::PermissionDenied, None))));
        lookout.turn(NOON).await;
        assert!(lookout.next() >= Some(NOON + hours(1)));
        lookout.take_up(setting("DE"), None, NOON);
        assert_eq!(lookout.next(), Some(NOON));
        // One that says how long it is to be left alone is.
        script.lock().expect("not poisoned").answer =
            Some(Box::new(|_| Err(refusal(Fault::Limit, Some(7_200)))));
        lookout.turn(NOON).await;
        let due = lookout.next();
        assert!(due >= Some(NOON + hours(2)));
        lookout.take_up(setting("DE"), None, NOON);
        assert_eq!(lookout.next(), due);
    });
}

fn found(zone: &str, source: &str) -> Found {
    let place =
        Place { zone: zone.into(), source: source.into(), cloud: "aws".into(), region: "eu-west-3".into() };
    Found { place, pue: Some(Pue::parse("1.1").expect("valid")), sources: Vec::new() }
}

fn kept_in(folder: &Path) -> Setting {
    Setting { choice: Choice::Unknown, kept: Some(folder.join("grid.json")), ..setting("FR") }
}

#[test]
fn the_place_and_the_book_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let setting = kept_in(folder.path());
    assert_eq!(at_start(&setting, NOON), None, "nothing is known yet");
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    let before = block(async {
        let mut lookout = Lookout::found(setting.clone(), opening(&script, 900), found("FR", "aws"), NOON);
        lookout.turn(NOON).await;
        let kept = lookout.kept().expect("worth keeping");
        kept::write(setting.kept.as_deref().expect("set"), &kept).expect("written");
        assert_eq!(kept::read(setting.kept.as_deref().expect("set"), NOON), Ok(Some(kept)));
        lookout.grid(NOON)
    });
    assert_eq!(before.plan.at(NOON).pue, Pue::parse("1.1").expect("valid"));
    let again = Lookout::restored(
        setting.clone(),
        opening(&script, 900),
        setting.restore(NOON).expect("readable"),
        NOON,
    );
    let grid = again.expect("the place was kept").grid(NOON);
    assert_eq!((grid.place, grid.plan), (before.place, before.plan));
    // Without the provider only the place is left; of another place nothing is.
    let plain = at_start(&setting, NOON).expect("the place was kept");
    assert_eq!((&*plain.place.zone, plain.plan.at(NOON).fallback), ("FR", Step::Wanted));
    let moved = Setting { choice: Choice::Zone { zone: "DE".into(), basis: None }, ..setting };
    assert_eq!(moved.restore(NOON), Ok(None));
    // A place that nobody found is none to go back to.
    let nowhere = Lookout::found(moved, opening(&script, 900), found("WORLD", "none"), NOON);
    assert_eq!(nowhere.kept(), None);
}

#[test]
fn a_place_that_was_found_is_kept_without_a_provider_and_a_configured_one_is_not_gone_back_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let labels = Labels { region: Some("eu-west-3".to_owned()), zone: None };
    let location =
        location::Wish { metadata: false, cloud: Some("aws".to_owned()), labels, ..Default::default() };
    let wishes = Wishes { location, ..Wishes::default() };
    let labelled = Setting { wishes, ..kept_in(folder.path()) };
    let published_by = |setting: &Setting| {
        block(async {
            let (_settings, receiver) = watch::channel(setting.clone());
            let (stop, stopped) = watch::channel(false);
            let (shown, mut seen) = tokio::sync::mpsc::unbounded_channel();
            let publish = move |lookout: &Lookout, now| {
                let _ = shown.send(lookout.grid(now));
            };
            let nobody: Open = Arc::new(|_, _| Vec::new());
            let task = tokio::spawn(super::watch(receiver, nobody, stopped, Pace::default(), publish));
            let first = seen.recv().await.expect("published");
            let path = setting.kept.clone().expect("set");
            while !path.exists() && setting.choice == Choice::Unknown {
                tokio::task::yield_now().await;
            }
            stop.send(true).expect("there");
            task.await.expect("it ends");
            first
        })
    };
    let found = published_by(&labelled);
    assert_eq!((&*found.place.zone, &*found.place.source), ("FR", "node_label"));
    // The next time nobody tells.
    let silent = location::Wish { metadata: false, ..Default::default() };
    let silent = Setting { wishes: Wishes { location: silent, ..Wishes::default() }, ..labelled };
    assert_eq!(at_start(&silent, NOON).map(|grid| grid.place), Some(found.place.clone()));
    assert_eq!(published_by(&silent).place, found.place);
    let configured =
        Kept { place: Place { source: "config".into(), ..found.place }, pue: None, book: Default::default() };
    kept::write(silent.kept.as_deref().expect("set"), &configured).expect("written");
    assert_eq!(at_start(&silent, NOON), None, "what is no more configured is not gone back to");
}

#[test]
fn a_damaged_file_is_said_once_and_otherwise_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let setting = kept_in(folder.path());
    let path = setting.kept.clone().expect("set");
    let huge = vec![b' '; 11 << 20];
    for content in [&b""[..], b"{", b"[]", b"\xff\xfe", br#"{"version":2,"place":{"zone":"FR","source":"aws","cloud":"","region":""},"pue":null,"order":[],"pages":[]}"#, &huge] {
        std::fs::write(&path, content).expect("written");
        let (grid, lines) = logged(|| at_start(&setting, NOON));
        assert_eq!(grid, None);
        assert_eq!(lines.iter().filter(|line| line.contains("grid.json")).count(), 1, "{lines:?}");
    }
}

#[test]
fn the_task_publishes_keeps_and_takes_up_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grid.json");
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    let first = Setting { kept: Some(path.clone()), ..setting("FR") };
    block(async {
        let (settings, receiver) = watch::channel(first.clone());
        let (stop, stopped) = watch::channel(false);
        let (shown, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let publish = move |lookout: &Lookout, now| {
            let _ = shown.send(lookout.grid(now));
        };
        let task = tokio::spawn(watch(receiver, opening(&script, 900), stopped, Pace::default(), publish));
        let is_heard =
            |grid: &Grid| grid.plan.stretches.iter().any(|stretch| stretch.factor.fallback == Step::Wanted);
        let before = seen.recv().await.expect("published before anybody is asked");
        assert!(!is_heard(&before));
        assert!(is_heard(&seen.recv().await.expect("published")));
        settings
            .send(Setting { choice: Choice::Zone { zone: "DE".into(), basis: None }, ..first })
            .expect("there");
        loop {
            let grid = seen.recv().await.expect("published");
            if &*grid.place.zone == "DE" && is_heard(&grid) {
                break;
            }
        }
        stop.send(true).expect("there");
        task.await.expect("it ends");
    });
    let kept = kept::read(&path, clock::now().wall).expect("readable").expect("written");
    assert_eq!(&*kept.place.zone, "FR", "the second one would be written a minute later");
    assert!(!kept.book.pages()[0].said.samples.is_empty());
}
