//! What every parser of this program must bear: any bytes. The fuzz target and a property test of the
//! fast tier run the same bodies.

#[path = "providers.rs"]
mod providers;
#[path = "store.rs"]
mod store;

use jouleprint::command::replay::Replay;
use jouleprint::command::run::limit::Limit;
use jouleprint::command::run::output::Pattern;
use jouleprint::config::flags::Flags;
use jouleprint::config::{Settings, socket_addresses};
use jouleprint::job::account::{parse_cpu_stat, parse_usage_percpu};
use jouleprint::job::gpu::device::{Device, MAX_DEVICES};
use jouleprint::job::gpu::permitted;
use jouleprint::job::names::{containers, kubelet, pod_logs, pod_resources, slurm};
use jouleprint::job::process::stat;
use jouleprint::job::register::read_labels;
use jouleprint::job::rule::Rule;
use jouleprint::job::slurm::cluster_name;
use jouleprint::job::speech::{progress, read_mark, read_progress};
use jouleprint::job::{Resolvers, processor};
use jouleprint::kernel_file::{parse_list, parse_number};
use jouleprint::model::identity::JobKind;
use jouleprint::model::quantity::{Intensity, MicroWatts, Pue};
use jouleprint::model::speech::Statement;
use jouleprint::output::negotiate;
use jouleprint::output::prometheus::{Format, render};
use jouleprint::source::amdgpu::metrics;
use jouleprint::source::hardware;
use jouleprint::source::hardware::nvidia;
use jouleprint::source::ipmi::packet::{self, Payload};
use jouleprint::source::ipmi::{dcmi, rakp};
use jouleprint::source::recorded::Recording;
use jouleprint::source::redfish::shape;

/// The first byte chooses the parser, the rest is its input.
pub(crate) fn any(bytes: &[u8]) {
    let Some((chosen, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match chosen % 15 {
        0 => kernel_files(bytes),
        1 => processors(bytes),
        2 => {
            let (cpuinfo, meminfo) = text.split_once("\n\n").unwrap_or((&text, ""));
            let _ = hardware::parse(cpuinfo, meminfo);
        }
        3 => drop(Settings::parse(&text, "fuzz", &Flags::default())),
        4 => requests(&text),
        5 => paths(&text),
        6 => decimals(&text),
        7 => recording(bytes),
        8 => store::store(bytes),
        9 => ipmi(bytes),
        10 => names(bytes),
        11 => accelerators(bytes),
        12 => redfish(bytes),
        13 => words_of_jobs(bytes),
        _ => providers::answer(bytes),
    }
}

/// What jobs say of themselves, and what `run` is told of limits and finds in lines.
fn words_of_jobs(bytes: &[u8]) {
    drop(read_labels(bytes));
    drop(read_mark(bytes));
    if let Ok(Statement::Progress(progress)) = read_progress(bytes) {
        assert!(progress.total > 0 && progress.done <= progress.total, "{progress:?}");
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some((done, total)) = text.split_once('/') {
        drop(progress(done, total));
    }
    drop(Limit::parse_emissions(&text));
    drop(Limit::parse_energy(&text));
    if let Ok(pattern) = Pattern::parse(r"([0-9]+)[^0-9]+([0-9]+)") {
        let _ = pattern.find(&text);
    }
}

/// What drivers show of accelerators: a table of bytes, and texts.
fn accelerators(bytes: &[u8]) {
    if let Ok(found) = metrics::parse(bytes) {
        assert_eq!(found.version, (bytes[2], bytes[3]));
        assert!(!found.is_processor || found.energy.is_none() && found.power.is_none());
        let _ = found.energy.and_then(metrics::energy);
    }
    // The same with a header that fits it.
    if let Some(size) = u16::try_from(bytes.len()).ok().filter(|size| *size >= 4) {
        let mut table = bytes.to_vec();
        table[..2].copy_from_slice(&size.to_le_bytes());
        let refused = metrics::parse(&table).err();
        table[2] = 1;
        let _ = (refused, metrics::parse(&table));
    }
    let text = String::from_utf8_lossy(bytes);
    let device = nvidia::parse(&text);
    assert!(device.model.len() <= bytes.len() * 3 && !device.uuid.contains('?'));
    let _ = nvidia::version(&text);
    // What they are called, by whoever gives them away and by users.
    for devices in [Device::parse_visible(&text), Device::parse_slurm(&text)] {
        assert!(devices.len() <= MAX_DEVICES);
    }
    let _ = (Device::parse(&text), permitted::parse(&text));
}

/// What is read to learn what jobs are called.
fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = pod_logs::parse(&text);
    let _ = slurm::parse(&text);
    let _ = kubelet::parse(bytes, &["app".into()]);
    let _ = pod_resources::decode(bytes);
    let _ = containers::docker_state(bytes);
    let _ = containers::storage_list(bytes);
    let _ = containers::oci_annotations(bytes);
    let _ = containers::runc_state(bytes);
}

fn kernel_files(bytes: &[u8]) {
    let _ = cluster_name(&String::from_utf8_lossy(bytes));
    if let Some(number) = parse_number(bytes) {
        assert_eq!(parse_number(number.to_string().as_bytes()), Some(number));
    }
    let _ = parse_cpu_stat(bytes);
    if let Some(stat) = stat::parse(bytes) {
        assert!(stat.name.len() < bytes.len());
    }
    let _ = parse_usage_percpu(bytes);
    if let Some(list) = parse_list(&String::from_utf8_lossy(bytes), 1_000) {
        assert!(list.len() <= 1_000);
    }
}

fn processors(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(processor::parse(bytes).count() <= lines);
}

fn requests(text: &str) {
    let _ = negotiate::format(Some(text));
    let _ = negotiate::accepts_gzip(Some(text));
    // Only what needs no name service.
    if text.starts_with(':') {
        let _ = socket_addresses(text);
    }
}

/// A path gives the same role every time, and a job's id fits a label.
fn paths(text: &str) {
    let rule = Rule::new("any", "/x/(?P<id>[^/]+)").expect("a valid rule");
    let resolvers = Resolvers::new(vec![rule], vec![JobKind::Pod, JobKind::Container, JobKind::Unit]);
    let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty()).take(32).collect();
    assert_eq!(resolvers.role(&names), resolvers.role(&names));
    let _ = Rule::new("fuzz", text);
}

fn decimals(text: &str) {
    let _ = Intensity::parse_grams(text);
    let _ = Pue::parse(text);
    let _ = MicroWatts::parse_watts(text);
}

/// A recording of anything is refused, or replayed to a page.
fn recording(bytes: &[u8]) {
    let Ok(recording) = Recording::open(bytes) else { return };
    let mut replay = Replay::new(&recording.header);
    let mut text = Vec::new();
    for tick in recording.take(64) {
        let Ok(tick) = tick else { return };
        let snapshot = replay.step(&tick);
        render(&snapshot, Format::OpenMetrics, "", &mut text);
        assert!(text.ends_with(b"# EOF\n"));
    }
}

/// Any answer of a BMC, sealed or not, is a message, a reading or a session, or it is nothing.
fn ipmi(bytes: &[u8]) {
    if let Some(reading) = dcmi::parse_power(bytes) {
        let _ = reading.power();
    }
    let _ = dcmi::parse_capabilities(bytes);
    let _ = packet::answer(1, dcmi::GROUP_EXTENSION, dcmi::GET_POWER, bytes);
    let (user, password, privilege) = (&b"root"[..], &b"calvin"[..], rakp::Privilege::User);
    for suite in [rakp::Suite::Three, rakp::Suite::Seventeen] {
        let ours = rakp::Handshake { suite, console_session: 1, random: [2; 16], user, password, privilege };
        for payload in [bytes, packet::plain_payload(Payload::OpenResponse, bytes).unwrap_or_default()] {
            let _ = ours.opened(1, payload);
            if let Some(Ok(greeting)) = ours.greeted(1, 3, payload) {
                let _ = ours.proved(1, &greeting, payload);
            }
        }
    }
}

/// Any body is JSON of some shape, or not; no path in it leads to another server.
fn redfish(bytes: &[u8]) {
    let Some(value) = shape::parse(bytes) else { return };
    let shown: Vec<_> = [shape::environment(&value), shape::control(&value), shape::supply(&value)]
        .into_iter()
        .flatten()
        .collect();
    if let Ok(power) = shape::power(&shown) {
        assert!((0.0..=shape::MAX_WATTS).contains(&power.as_watts()));
    }
    let (paths, more) = shape::members(&value);
    assert!(paths.len() <= shape::MAX_MEMBERS);
    assert!(paths.iter().chain(&more).all(|path| path.starts_with("/redfish/")));
    let _ = (shape::name(&value, "/redfish/v1/x"), shape::is_absent(&value), shape::number(&value));
}
