//! `top` without a terminal: keys and answers go into a view, and what it draws is compared with
//! `top/NAME.txt`. `UPDATE=1 cargo test --test it top` rewrites them; read the diff.

use jouleprint::command::now::{
    Account, Emissions, Energy, Grid, Held, Job, Now, Phase, Prediction, Progress, Quantiles,
};
use jouleprint::command::top::draw::draw;
use jouleprint::command::top::plain;
use jouleprint::command::top::view::{Event, Key, Next, View};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, CellWidth};
use ratatui::style::{Color, Modifier};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The usual screen.
const USUAL: (u16, u16) = (80, 24);

/// Names that somebody gave a job to see what happens.
const NASTY: [&str; 9] = [
    "a \"quoted\" one",
    "\u{1b}[2J\u{1b}[31mred\u{7}",
    "line\r\nbreak\ttab",
    "训练-大模型-很长很长的名字-超过一列的宽度",
    "🚀👩‍👩‍👧‍👦🇫🇷 launch",
    "evil\u{202e}txt.exe",
    "שלום עולם",
    "e\u{301}\u{301}\u{301}clair",
    "",
];

fn energy(hw_type: &str, gpu: &str, origin: &str, joules: f64) -> Energy {
    Energy { hw_type: hw_type.to_owned(), gpu: gpu.to_owned(), origin: origin.to_owned(), joules }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn job(id: &str, watts: f64, attributes: &[(&str, &str)]) -> Job {
    Job {
        job_kind: if attributes.iter().any(|(key, _)| key.starts_with("k8s")) { "pod" } else { "container" }
            .to_owned(),
        job_id: id.to_owned(),
        state: "live".to_owned(),
        first_seen: "2026-11-22T19:58:55Z".to_owned(),
        attributes: map(attributes),
        labels: BTreeMap::new(),
        power_watts: watts,
        cpu_seconds: watts * 10.0,
        gpus: Vec::new(),
        energy: vec![energy("cpu", "", "measured", watts * 3_600.0)],
        emissions: vec![Emissions { co2e_grams: watts / 2.0 }],
        progress: None,
        prediction: None,
        phases: Vec::new(),
    }
}

/// After so many seconds; what the jobs draw and 30 W besides is what the host draws.
fn answer(seconds: u32, jobs: Vec<Job>) -> Now {
    let account = |name: &str, watts: f64| Account {
        account: name.to_owned(),
        power_watts: watts,
        energy: vec![energy("cpu", "", "measured", watts * 100.0)],
    };
    Now {
        host: "node-17".to_owned(),
        at: format!("2026-11-22T21:{:02}:{:02}.25Z", seconds / 60, seconds % 60),
        tick_seconds: 5.0,
        grid: Grid {
            grid_zone: "DE".to_owned(),
            grams_per_kilowatt_hour: 381.25,
            pue: 1.2,
            source: "electricity_maps".to_owned(),
            year: String::new(),
            quality: "live".to_owned(),
        },
        power_watts: 30.0 + jobs.iter().map(|job| job.power_watts).sum::<f64>(),
        accounts: vec![
            account("system", 10.0),
            account("idle", 20.0),
            account("ended", 0.0),
            account("overflow", 0.0),
        ],
        jobs,
    }
}

/// One that trains on an accelerator, and says how far it has come.
fn training(watts: f64, gpu_joules: f64) -> Job {
    let quantiles = |median: f64| Quantiles { low: median * 0.9, median, high: median * 1.2 };
    let known = [
        ("slurm.job.name", "train"),
        ("slurm.account", "physics"),
        ("user.name", "ada"),
        ("project", "climate"),
        (
            "container.image.name",
            "registry.example.org/a-team/with-a-long-name/training:2026.11.22-0123456789abcdef0123456789abcdef",
        ),
    ];
    let phase = |name: &str, is_open, seconds| Phase {
        phase: name.to_owned(),
        is_open,
        seconds,
        energy_joules: seconds * 100.0,
        co2e_grams: seconds / 100.0,
    };
    Job {
        job_kind: "slurm".to_owned(),
        labels: map(&[("team", "weather")]),
        gpus: vec![Held { gpu: "GPU-5".to_owned(), gpu_instance: String::new(), allocated: 1.0 }],
        energy: vec![
            energy("cpu", "", "measured", 90_000.0),
            energy("gpu", "GPU-5", "measured", gpu_joules),
            energy("memory", "", "estimated", 5_000.0),
        ],
        progress: Some(Progress {
            done: 37.0,
            total: 100.0,
            ratio: 0.37,
            at: "2026-11-22T21:00:00Z".to_owned(),
        }),
        prediction: Some(Prediction {
            blocks: 12,
            energy_joules: quantiles(7.2e6),
            duration_seconds: quantiles(9_000.0),
            co2e_grams: quantiles(915.0),
            end: "2026-11-22T23:15:00Z".to_owned(),
            intensity: "forecast".to_owned(),
        }),
        phases: vec![phase("load", false, 75.0), phase("train", true, 3_700.0)],
        ..job("4711", watts, &known)
    }
}

/// A view that has these answers behind it.
fn view(size: (u16, u16), answers: Vec<Now>) -> View {
    let mut view = View::new(true);
    view.on(Event::Size(size.0, size.1));
    for now in answers {
        view.on(Event::Answer(Box::new(now)));
    }
    view
}

fn usual() -> Vec<Now> {
    let others = || {
        let pods = [("shop", "web-0", 25.5), ("shop", "web-1", 12.25), ("kube-system", "dns-7", 0.75)];
        pods.map(|(namespace, pod, watts)| {
            job(pod, watts, &[("k8s.namespace.name", namespace), ("k8s.pod.name", pod)])
        })
    };
    let all = |watts, joules| {
        let mut ended = job("gone", 1.5, &[]);
        ended.state = "ended".to_owned();
        others().into_iter().chain([training(watts, joules), ended]).collect()
    };
    vec![answer(0, all(180.0, 1_000_000.0)), answer(5, all(200.0, 1_000_750.0))]
}

fn press(view: &mut View, keys: &[Key]) {
    for key in keys {
        assert_eq!(view.on(Event::Key(*key)), Next::Stay, "{key:?}");
    }
}

fn write(view: &mut View, text: &str) {
    press(view, &text.chars().map(Key::Char).collect::<Vec<_>>());
}

fn screen(view: &View, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(view, frame)).expect("drawn");
    terminal.backend().buffer().clone()
}

/// The lines; `>` stands before those that are reversed.
fn lines(buffer: &Buffer) -> Vec<String> {
    let rows = 0..buffer.area.height;
    rows.map(|y| {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let cell = &buffer[(x, y)];
            line.push_str(cell.symbol());
            x += cell.symbol().cell_width().max(1);
        }
        let is_selected = buffer.area.width > 0 && buffer[(0, y)].modifier.contains(Modifier::REVERSED);
        format!("{} {}", if is_selected { ">" } else { " " }, line).trim_end().to_owned()
    })
    .collect()
}

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/top").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).expect("the golden can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name}.txt differs (UPDATE=1 cargo test --test it top rewrites it):\n{text}");
}

fn check(name: &str, view: &View, size: (u16, u16)) {
    let text: String = lines(&screen(view, size)).iter().map(|line| format!("{line}\n")).collect();
    compare(name, &text);
}

fn many(count: u32, seconds: u32) -> Now {
    let name = |at: u32| [("container.name", format!("worker-{at:03}"))];
    let all = (0..count).map(|at| {
        let [(key, name)] = name(at);
        job(&format!("id-{at}"), f64::from(at * 7 % count) / 4.0, &[(key, name.as_str())])
    });
    answer(seconds, all.collect())
}

#[test]
fn a_host_with_jobs_on_screens_of_every_size() {
    for (name, size) in [
        ("usual-80x24", USUAL),
        ("usual-60x20", (60, 20)),
        ("usual-160x50", (160, 50)),
        ("usual-20x5", (20, 5)),
    ] {
        check(name, &view(size, usual()), size);
    }
    compare("plain", &plain::text(&usual()[1], None));
}

#[test]
fn no_jobs_one_job_and_many() {
    check("none", &view(USUAL, vec![answer(0, Vec::new())]), USUAL);
    check("one", &view(USUAL, vec![answer(0, vec![job("7", 5.0, &[])])]), USUAL);
    let mut many = view(USUAL, vec![many(500, 0)]);
    press(&mut many, &[Key::PageDown, Key::PageDown, Key::Down]);
    check("many", &many, USUAL);
}

#[test]
fn a_filter_while_it_is_typed_and_in_force() {
    let mut view = view(USUAL, usual());
    write(&mut view, "/SHOPx");
    press(&mut view, &[Key::Backspace]);
    check("filter-typed", &view, USUAL);
    press(&mut view, &[Key::Enter]);
    check("filter", &view, USUAL);
    // Escape shows all again, and only then ends it.
    assert_eq!(view.on(Event::Key(Key::Escape)), Next::Stay);
    assert_eq!(lines(&screen(&view, USUAL)).iter().filter(|line| line.contains("kube-system")).count(), 1);
    // By what is not on the screen: user, project.
    for text in ["/ada", "/climate"] {
        write(&mut view, text);
        press(&mut view, &[Key::Enter]);
        let shown = lines(&screen(&view, USUAL));
        assert!(shown.iter().any(|line| line.contains("train (4711)")), "{shown:#?}");
        assert!(!shown.iter().any(|line| line.contains("web-0")), "{shown:#?}");
        press(&mut view, &[Key::Escape]);
    }
    write(&mut view, "/nothing of the kind");
    let shown = lines(&screen(&view, USUAL)).join("\n");
    assert!(shown.contains("no job has this text"), "{shown}");
    assert_eq!(view.on(Event::Key(Key::Interrupt)), Next::Leave);
}

#[test]
fn all_that_is_known_of_one_job() {
    let mut all = view(USUAL, usual());
    press(&mut all, &[Key::Enter]);
    check("details", &all, USUAL);
    press(&mut all, &[Key::End]);
    check("details-end", &all, USUAL);
    check("details-60x20", &all, (60, 20));
    // When it has left the page there is nothing to be shown of it.
    all.on(Event::Answer(Box::new(answer(10, vec![job("7", 5.0, &[])]))));
    let shown = lines(&screen(&all, USUAL)).join("\n");
    assert!(shown.contains("the job has ended and left the page") && shown.contains("g/h"), "{shown}");
}

#[test]
fn help_lists_the_keys() {
    let mut view = view(USUAL, usual());
    write(&mut view, "?");
    check("help", &view, USUAL);
    press(&mut view, &[Key::Char('x')]);
    assert!(lines(&screen(&view, USUAL))[0].contains("node-17"));
}

#[test]
fn an_exporter_that_is_gone_is_said_in_red_until_it_is_back() {
    let mut gone = view(USUAL, usual());
    gone.on(Event::Silence("no exporter answers on /run/jouleprint/job.sock: Connection refused".to_owned()));
    check("gone", &gone, USUAL);
    check("gone-20x5", &gone, (20, 5));
    let buffer = screen(&gone, USUAL);
    let (at, _) = lines(&buffer)
        .iter()
        .enumerate()
        .find_map(|(y, line)| line.contains("no answer since 21:00:05 UTC").then_some((y, line.clone())))
        .expect("it is said");
    let cell = &buffer[(0, u16::try_from(at).expect("a line"))];
    assert!(cell.fg == Color::Red && cell.modifier.contains(Modifier::BOLD), "{cell:?}");
    gone.on(Event::Answer(Box::new(answer(20, Vec::new()))));
    assert!(!lines(&screen(&gone, USUAL)).join("\n").contains("no answer"));
}

#[test]
fn nasty_names_stay_in_their_column() {
    let jobs =
        NASTY.iter().zip(1..).map(|(name, at)| job(name, f64::from(100 - at), &[("container.name", name)]));
    let mut nasty = view(USUAL, vec![answer(0, jobs.collect())]);
    check("nasty", &nasty, USUAL);
    press(&mut nasty, &[Key::Down, Key::Enter]);
    check("nasty-details", &nasty, USUAL);
}

#[test]
fn the_watts_of_all_lines_are_the_hosts() {
    let view = view((80, 60), usual());
    let shown = lines(&screen(&view, (80, 60)));
    let watts = |line: &String| {
        let column: String = line.chars().skip(2).collect();
        column.split("  ").filter_map(|cell| cell.trim().parse::<f64>().ok()).next()
    };
    let sum: f64 = shown[4..].iter().filter_map(watts).sum();
    assert!((sum - 270.0).abs() < 0.02, "{sum}: {shown:#?}");
    assert!(shown[0].contains("270.00 W"), "{shown:#?}");
}

#[test]
fn jobs_are_in_the_order_that_is_asked_for() {
    let mut ordered = view((160, 24), usual());
    let mut first_and_last = |keys: &str| {
        write(&mut ordered, keys);
        let shown = lines(&screen(&ordered, (160, 24)));
        let names: Vec<String> = shown
            .iter()
            .filter_map(|line| {
                ["web-0", "web-1", "dns-7", "train"].into_iter().find(|name| line.contains(name))
            })
            .map(str::to_owned)
            .collect();
        assert_eq!(names.len(), 4, "{shown:#?}");
        (names[0].clone(), names[3].clone())
    };
    for (keys, first, last) in [
        ("1", "train", "dns-7"),
        ("r", "dns-7", "train"),
        ("2", "train", "dns-7"),
        ("3", "train", "dns-7"),
        ("4", "train", "dns-7"),
        ("5", "dns-7", "train"),
        ("r", "train", "dns-7"),
        // What says nothing of itself is last, whichever way round.
        ("6", "train", "web-1"),
        ("r", "train", "web-1"),
        ("s", "train", "dns-7"),
    ] {
        assert_eq!(first_and_last(keys), (first.to_owned(), last.to_owned()), "after {keys}");
    }
}

#[test]
fn the_selection_goes_with_its_job() {
    let [first, second] = [0, 5].map(|seconds| {
        let watts = |at: u32| if seconds == 0 { 10.0 * f64::from(at) } else { 100.0 - 10.0 * f64::from(at) };
        answer(seconds, (1..6).map(|at| job(&format!("job-{at}"), watts(at), &[])).collect())
    });
    let mut follows = view(USUAL, vec![first]);
    press(&mut follows, &[Key::Down]);
    let selected = |view: &View| {
        let shown = lines(&screen(view, USUAL));
        let found: Vec<String> = shown.into_iter().filter(|line| line.starts_with('>')).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    assert!(selected(&follows).contains("job-4"));
    follows.on(Event::Answer(Box::new(second)));
    assert!(selected(&follows).contains("job-4"), "{}", selected(&follows));
    write(&mut follows, "5");
    assert!(selected(&follows).contains("job-4"));
    // It is gone: whoever is in its place.
    follows.on(Event::Answer(Box::new(answer(10, vec![job("job-9", 1.0, &[])]))));
    assert!(selected(&follows).contains("job-9"));
}

#[test]
fn no_background_is_ever_set_and_without_colours_no_colour() {
    for (has_colours, is_gone) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut view = View::new(has_colours);
        view.on(Event::Answer(Box::new(usual().remove(1))));
        if is_gone {
            view.on(Event::Silence("why".to_owned()));
        }
        for keys in [vec![], vec![Key::Enter], vec![Key::Char('?')]] {
            press(&mut view, &keys);
            for cell in &screen(&view, USUAL).content {
                assert_eq!(cell.bg, Color::Reset);
                let is_shown_by_both = matches!(cell.fg, Color::Reset | Color::Red | Color::Green);
                assert!(is_shown_by_both && (has_colours || cell.fg == Color::Reset), "{cell:?}");
            }
        }
    }
}

#[test]
fn ten_thousand_jobs_are_drawn_as_fast_as_ten() {
    let few = view(USUAL, vec![many(10, 0)]);
    let all = view(USUAL, vec![many(10_000, 0)]);
    let draws = |view: &View| {
        let mut terminal = Terminal::new(TestBackend::new(USUAL.0, USUAL.1)).expect("a screen");
        let times = (0..15).map(|_| {
            let began = jouleprint::clock::monotonic();
            terminal.draw(|frame| draw(view, frame)).expect("drawn");
            jouleprint::clock::monotonic().saturating_sub(began).get()
        });
        // The least that it takes: whatever else the machine does takes longer.
        times.min().expect("fifteen")
    };
    let (few, all) = (draws(&few), draws(&all));
    // Twice the rows are on the screen; the thousands that are not cost nothing.
    assert!(all < few * 6, "{few} ns, {all} ns");
}

fn any_key() -> impl Strategy<Value = Key> {
    use Key::*;
    prop_oneof![
        prop::sample::select(vec![Up, Down, PageUp, PageDown, Home, End, Enter, Escape, Backspace]),
        prop::sample::select("123456srjk/?q训\u{301}\u{1b}".chars().collect::<Vec<_>>()).prop_map(Char),
    ]
}

fn any_job() -> impl Strategy<Value = Job> {
    let name = prop_oneof![prop::sample::select(NASTY.to_vec()).prop_map(str::to_owned), any::<String>()];
    (0_u32..12, name, prop_oneof![Just(0.0), Just(1e12), 0.0..500.0], any::<bool>(), any::<bool>()).prop_map(
        |(id, name, watts, is_live, is_training)| {
            let plain = job(&id.to_string(), watts, &[("container.name", name.as_str())]);
            let mut job = if is_training {
                Job { job_id: plain.job_id, attributes: plain.attributes, ..training(watts, watts * 10.0) }
            } else {
                plain
            };
            if !is_live {
                job.state = "ended".to_owned();
            }
            job
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any_key().prop_map(Event::Key),
        2 => (0_u32..1_200, prop::collection::vec(any_job(), 0..40))
            .prop_map(|(seconds, jobs)| Event::Answer(Box::new(answer(seconds, jobs)))),
        1 => any::<String>().prop_map(Event::Silence),
        1 => (0_u16..200, 0_u16..60).prop_map(|(width, height)| Event::Size(width, height)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever comes and whatever is pressed, at any size, be it the one that was said or not.
    #[test]
    fn nothing_that_happens_breaks_the_screen(
        events in prop::collection::vec((any_event(), 0_u16..180, 0_u16..60), 0..25)
    ) {
        let mut view = View::new(true);
        for (event, width, height) in events {
            let (width, height) = match event {
                Event::Size(width, height) => (width, height),
                Event::Key(_) | Event::Answer(_) | Event::Silence(_) => (width, height),
            };
            view.on(event);
            for cell in &screen(&view, (width, height)).content {
                let is_shown = cell.symbol().chars().all(|char| !char.is_control() && char != '\u{202e}');
                prop_assert!(is_shown, "{:?}", cell.symbol());
            }
        }
    }
}
