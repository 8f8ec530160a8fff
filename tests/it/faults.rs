//! What goes wrong on real machines, and which series says so. Each case is a machine, what happens to
//! it, and lines of the page: `NAME label=value …: VALUE`, or `no NAME label=value …`; with `@5` in
//! front the page at 5 s is meant, else the last one. On every page of every case everything adds up
//! and nothing falls.

mod groups;
mod meters;

use crate::page::{Page, Sample};
use crate::tree::{Ground, Host, Run, at};
use jouleprint::model::identity::Origin;
use jouleprint::output::catalogue::families;
use std::collections::BTreeSet;

/// One socket, two CPUs, 100 GB, and one unit; energy meters are the cases' own. Without one, memory is
/// estimated at 38 W and the processor by its TDP of 125 W: a fifth of the machine busy is 0.4275 of
/// that, so 53.4375 W or 267.1875 J in 5 s.
const MACHINE: &str = "\
== config.yaml
zone: DE
intensity: 360
==
== proc/stat
cpu  0 0 0 0 0 0 0 0 0 0
cpu0 0 0 0 0 0 0 0 0 0 0
cpu1 0 0 0 0 0 0 0 0 0 0
==
== proc/cpuinfo
processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz

processor	: 1
==
proc/meminfo = MemTotal:       97656250 kB
sys/devices/system/cpu/cpu{0..1}/topology/physical_package_id = 0
cgroup/cgroup.controllers = cpu io memory
cgroup/system.slice/cpu.stat = usage_usec 1000000
cgroup/system.slice/a.service/cpu.stat = usage_usec 1000000
";

/// In an interval both CPUs together are busy for 2 s, one of them for a.service.
const WORK: &str = "\
proc/stat[cpu{0..1}] += 100
cgroup/system.slice/cpu.stat += 1000000
cgroup/system.slice/a.service/cpu.stat += 1000000
";

/// Short for what nearly every case says: `zone PLACE NAME MICROJOULES [RANGE]` makes a zone,
/// `energy:PLACE` is its counter, `work` is [`WORK`].
fn expand(text: &str) -> String {
    let directory = |place: &str| match place.strip_prefix("mmio:") {
        Some(place) => format!("sys/class/powercap/intel-rapl-mmio:{place}"),
        None => format!("sys/class/powercap/intel-rapl:{place}"),
    };
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["work"] => WORK.to_owned(),
            ["zone", place, name, energy, range @ ..] => {
                let directory = directory(place);
                let range = range.first().unwrap_or(&"262143328850");
                format!(
                    "{directory}/name = {name}\n{directory}/max_energy_range_uj = {range}\n\
                     {directory}/energy_uj = {energy}\n"
                )
            }
            _ => match line.split_once("energy:") {
                Some((before, rest)) => {
                    let (place, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    format!("{before}{}/energy_uj {after}", directory(place)).trim_end().to_owned() + "\n"
                }
                None => format!("{line}\n"),
            },
        }
    };
    text.lines().map(|text| line(text.trim_start())).collect()
}

fn ground(text: &str) -> Ground {
    Ground::of(&format!("{MACHINE}{}", expand(text)))
}

fn run(text: &str) -> Run {
    Run::start(ground(text))
}

impl Run {
    /// Lets things happen, and ticks.
    fn step(&mut self, seconds: u64, text: &str) {
        self.ground.change(&expand(text));
        self.tick(at(seconds));
    }

    fn shows(&self, lines: &[&str]) {
        for line in lines {
            self.shows_one(line);
        }
    }

    fn shows_one(&self, line: &str) {
        let (is_absent, wanted) = match line.strip_prefix("no ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (series, value) = match wanted.rsplit_once(": ") {
            Some((series, value)) if !is_absent => (series, value),
            _ => (wanted, ""),
        };
        let mut words = series.split(' ');
        let name = words.next().expect("a name");
        let labels: Vec<(&str, &str)> =
            words.map(|word| word.split_once('=').unwrap_or_else(|| panic!("{line}: {word}"))).collect();
        // What is looked for must be something that a page can hold, or its absence says nothing.
        let family = families().find(|family| {
            ["", "_total", "_info"].iter().any(|suffix| name.strip_suffix(suffix) == Some(family.name))
        });
        let family = family.unwrap_or_else(|| panic!("{line}: there is no such series"));
        assert!(labels.iter().all(|(key, _)| family.labels.contains(key)), "{line}: no such label");
        let found = self.page.all(name, &labels);
        if is_absent {
            assert!(found.is_empty(), "{line}, but there is {found:?}");
            return;
        }
        let nano = |text: &str| {
            Page::parse(&format!("# TYPE x gauge\nx {text}\n# EOF\n")).map(|page| page.sum("x", &[]))
        };
        let sum: u128 = found.iter().map(|sample| sample.nano()).sum();
        assert!(!found.is_empty(), "{line}: not there, only {:#?}", self.page.all(name, &[]));
        assert_eq!(Ok(sum), nano(value), "{line}, but there is {found:#?}");
    }

    /// No estimate runs beside a meter of the same hardware, or inside one of the platform.
    fn never_mixes(&self) {
        let of = |origin: Origin| -> BTreeSet<&str> {
            let labels = [("origin", origin.as_str())];
            let meters = self.page.all("hw_energy_joules_total", &labels);
            meters.into_iter().map(|sample: &Sample| sample.labels["hw_type"].as_str()).collect()
        };
        let (measured, estimated) = (of(Origin::Measured), of(Origin::Estimated));
        assert!(measured.is_disjoint(&estimated), "{}", self.text);
        assert!(estimated.is_empty() || !measured.contains("other"), "{}", self.text);
    }
}

/// Runs `what` on a thread that may not read what its mode forbids, root or not.
fn without_privileges<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let drop_and_run = || {
        let mut sets = capabilities(None).expect("known");
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).expect("one may always drop them");
        what()
    };
    std::thread::scope(|scope| scope.spawn(drop_and_run).join()).expect("passes")
}

fn set_mode(ground: &Ground, path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(ground.path(path), permissions).expect("our own file");
}

macro_rules! faults {
    ($($name:ident: $text:literal => $shows:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check($text, &$shows);
            }
        )*
    };
}

fn check(text: &str, shows: &[&str]) {
    let host = Host::parse(&format!("{MACHINE}{}", expand(text))).expect("a host");
    let mut run = Run::start(Ground::new(&host));
    let look = |run: &Run, seconds: u64| {
        let prefix = format!("@{seconds} ");
        shows.iter().filter_map(|line| line.strip_prefix(&prefix)).for_each(|line| run.shows_one(line));
        run.never_mixes();
    };
    look(&run, 0);
    for (seconds, changes) in &host.ticks {
        run.ground.apply(changes);
        run.tick(at(*seconds));
        look(&run, *seconds);
    }
    let times: Vec<u64> = host.ticks.iter().map(|tick| tick.0).chain([0]).collect();
    for line in shows {
        match line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            Some((time, _)) => {
                assert!(times.contains(&time.parse().unwrap()), "{line}: there is no such tick")
            }
            None => run.shows_one(line),
        }
    }
}

faults! {
    a_wrap_is_counted_once:
        "zone 0 package-0 262043328850
         @ 5s
         energy:0 = 200000000
         work
         @ 10s
         energy:0 += 50_000_000" => [
        "@5 hw_energy_joules_total hw_id=package-0: 300",
        "@5 jouleprint_meter_wraps_total hw_id=package-0: 1",
        "hw_energy_joules_total hw_id=package-0: 350",
        "hw_power_watts hw_id=package-0: 10",
        "jouleprint_meter_wraps_total hw_id=package-0: 1",
        "jouleprint_meter_resets_total hw_id=package-0: 0",
        "no jouleprint_quarantined_energy_joules_total",
    ];
    a_reload_of_the_module_is_a_reset_and_no_wrap:
        "zone 0 package-0 200000000000
         @ 5s
         energy:0 = 5000000
         work
         @ 10s
         energy:0 += 300_000_000
         work" => [
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "@5 jouleprint_meter_resets_total hw_id=package-0: 1",
        "@5 no hw_power_watts hw_id=package-0",
        "hw_energy_joules_total hw_id=package-0: 300",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 150",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
        "jouleprint_meter_wraps_total hw_id=package-0: 0",
        "jouleprint_source_up hw_id=package-0: 1",
    ];
    all_ones_are_out_of_range_and_cost_nothing:
        "zone 0 package-0 1000000000
         @ 5s
         energy:0 = 18446744073709551615
         proc/stat[cpu0] += 100
         cgroup/system.slice/{cpu.stat,a.service/cpu.stat} += 1000000
         @ 10s
         energy:0 = 1600000000
         proc/stat[cpu0] += 100" => [
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "@5 no hw_power_watts hw_id=package-0",
        "@5 jouleprint_source_up hw_id=package-0: 0",
        "@5 jouleprint_source_info hw_id=package-0 reason=out_of_range: 1",
        "@5 jouleprint_source_last_success_timestamp_seconds hw_id=package-0: 1767225600",
        "jouleprint_source_up hw_id=package-0: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=out_of_range: 1",
        "hw_energy_joules_total hw_id=package-0: 600",
        "hw_power_watts hw_id=package-0: 60",
        "jouleprint_meter_resets_total hw_id=package-0: 0",
        "no jouleprint_quarantined_energy_joules_total",
        // The unit ran in the first half alone, the system in the second.
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 300",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 300",
    ];
    all_ones_from_the_start_on_one_socket_wait_for_it_to_heal:
        "zone 0 package-0 18446744073709551615
         zone 1 package-1 1000000000
         @ 5s
         energy:0 = 1000000000
         energy:1 += 100_000_000
         @ 10s
         energy:0 += 300_000_000
         energy:1 += 100_000_000" => [
        "@0 jouleprint_source_info hw_id=package-0 reason=out_of_range: 1",
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "hw_energy_joules_total hw_id=package-0 origin=measured: 300",
        "no hw_energy_joules_total hw_type=cpu origin=estimated",
    ];
    a_range_of_zero_is_none_so_that_nothing_wraps:
        "zone 0 package-0 262043328850 0
         @ 5s
         energy:0 = 200000000
         @ 10s
         energy:0 += 300_000_000" => [
        "hw_energy_joules_total hw_id=package-0: 300",
        "jouleprint_meter_wraps_total hw_id=package-0: 0",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
    ];
    a_range_that_cannot_be_read_is_none:
        "zone 0 package-0 262043328850
         - sys/class/powercap/intel-rapl:0/max_energy_range_uj
         @ 5s
         energy:0 = 200000000
         @ 10s
         energy:0 += 300_000_000" => [
        "hw_energy_joules_total hw_id=package-0: 300",
        "jouleprint_meter_wraps_total hw_id=package-0: 0",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
    ];
    dangling_links_are_a_masked_directory:
        "sys/class/powercap/intel-rapl -> ../../devices/virtual/powercap/intel-rapl
         sys/class/powercap/intel-rapl:0 -> ../../devices/virtual/powercap/intel-rapl/intel-rapl:0
         @ 5s
         work" => [
        "jouleprint_source_up source=rapl hw_id=: 0",
        "jouleprint_source_info source=rapl hw_id= reason=masked: 1",
        "jouleprint_source_errors_total source=rapl hw_id= reason=masked: 1",
        "jouleprint_source_up source=estimate hw_id=cpu: 1",
        "no hw_energy_joules_total origin=measured",
        "no jouleprint_source_last_success_timestamp_seconds source=rapl",
    ];
    no_class_directory_is_missing:
        "@ 5s
         work" => [
        "jouleprint_source_up source=rapl hw_id=: 0",
        "jouleprint_source_info source=rapl hw_id= reason=missing: 1",
        "jouleprint_source_up source=estimate hw_id=cpu: 1",
        "no hw_energy_joules_total origin=measured",
    ];
    a_constant_counter_is_absent_and_estimated_even_if_it_moves_later:
        "zone 0 package-0 1000000000
         ! still energy:0
         @ 5s
         work
         @ 10s
         energy:0 += 300_000_000
         work" => [
        "jouleprint_source_up source=rapl hw_id=package-0: 0",
        "jouleprint_source_info source=rapl hw_id=package-0 reason=not_advancing: 1",
        "jouleprint_source_info source=rapl hw_id= reason=not_advancing: 1",
        "no hw_energy_joules_total origin=measured",
        "no jouleprint_job_energy_joules_total origin=measured",
        "hw_host_energy_joules_total origin=estimated: 914.375",
    ];
    a_counter_of_zero_is_absent:
        "zone 0 package-0 0
         ! still energy:0
         @ 5s
         work" => [
        "jouleprint_source_info source=rapl hw_id=package-0 reason=not_advancing: 1",
        "no hw_energy_joules_total origin=measured",
        "no hw_power_watts origin=measured",
    ];
    one_zone_stands_and_the_other_counts:
        "zone 0 package-0 1000000000
         zone 0:0 dram 0
         ! still energy:0:0
         @ 5s
         energy:0 += 300_000_000
         work" => [
        "jouleprint_source_info source=rapl hw_id=package-0-dram reason=not_advancing: 1",
        "hw_energy_joules_total hw_type=cpu origin=measured: 300",
        "hw_energy_joules_total hw_type=memory origin=estimated: 190",
        "no hw_energy_joules_total hw_type=memory origin=measured",
    ];
    a_platform_meter_alone_is_counted_and_nothing_is_estimated_inside_it:
        "zone 1 psys 1000000000
         @ 5s
         energy:1 += 48_000_000
         work" => [
        "hw_energy_joules_total hw_type=other hw_id=psys origin=measured: 48",
        "hw_host_energy_joules_total origin=measured: 48",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=other: 24",
        "no hw_energy_joules_total origin=estimated",
        "no jouleprint_domain_energy_joules_total",
    ];
    mmio_alone_is_the_package:
        "zone mmio:0 package-0 1000000000
         @ 5s
         energy:mmio:0 += 300_000_000
         work" => [
        "hw_energy_joules_total hw_id=package-0 origin=measured: 300",
        "no jouleprint_domain_energy_joules_total",
    ];
    twins_by_msr_and_mmio_are_one_package:
        "zone 0 package-0 1000000000
         zone mmio:0 package-0 1000000000
         @ 5s
         energy:0 += 300_000_000
         energy:mmio:0 += 310_000_000
         work" => [
        "hw_host_energy_joules_total origin=measured: 300",
        "hw_energy_joules_total hw_id=package-0 origin=measured: 300",
        "jouleprint_domain_energy_joules_total hw_id=package-0-mmio parent=: 310",
    ];
    a_dead_msr_leaves_its_name_to_the_mmio_twin:
        "zone 0 package-0 1000000000
         ! still energy:0
         zone mmio:0 package-0 1000000000
         @ 5s
         energy:mmio:0 += 310_000_000
         work" => [
        "hw_host_energy_joules_total origin=measured: 310",
        "hw_energy_joules_total hw_id=package-0 origin=measured: 310",
        "no hw_energy_joules_total hw_type=cpu origin=estimated",
    ];
    core_and_uncore_are_inside_and_never_added:
        "zone 0 package-0 1000000000
         zone 0:0 core 1000000000
         zone 0:1 uncore 1000000000
         @ 5s
         energy:0 += 19_000_000
         energy:0:0 += 4_000_000
         energy:0:1 += 1_000_000
         work" => [
        "hw_host_energy_joules_total origin=measured: 19",
        "jouleprint_domain_energy_joules_total hw_id=package-0-core parent=package-0: 4",
        "jouleprint_domain_energy_joules_total hw_id=package-0-uncore parent=package-0: 1",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 9.5",
    ];
    core_without_a_package_that_counts_is_not_the_processor:
        "zone 0 package-0 1000000000
         ! still energy:0
         zone 0:0 core 1000000000
         @ 5s
         energy:0:0 += 4_000_000
         work" => [
        "no hw_energy_joules_total origin=measured",
        "hw_energy_joules_total hw_id=cpu origin=estimated: 267.1875",
        "jouleprint_domain_energy_joules_total hw_id=package-0-core: 4",
    ];
    garbage_in_one_counter_leaves_the_other_socket_alone:
        "zone 0 package-0 1000000000
         zone 1 package-1 1000000000
         @ 5s
         energy:0 = 12a4
         energy:1 += 100_000_000
         work
         @ 10s
         energy:0 = 1600000000
         energy:1 += 100_000_000
         work" => [
        "@5 jouleprint_source_up hw_id=package-0: 0",
        "@5 jouleprint_source_info hw_id=package-0 reason=malformed: 1",
        "@5 jouleprint_source_up hw_id=package-1: 1",
        "@5 hw_energy_joules_total hw_id=package-1: 100",
        "@5 no hw_power_watts hw_id=package-0",
        "@5 no hw_host_power_watts origin=measured",
        "jouleprint_source_errors_total hw_id=package-0 reason=malformed: 1",
        "jouleprint_source_up hw_id=package-0: 1",
        "hw_energy_joules_total hw_id=package-0: 600",
        "hw_energy_joules_total hw_id=package-1: 200",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 400",
        "no hw_energy_joules_total hw_type=cpu origin=estimated",
    ];
    an_empty_counter_file_is_a_gap_and_no_zero:
        "zone 0 package-0 1000000000
         @ 5s
         == sys/class/powercap/intel-rapl:0/energy_uj
         ==
         work
         @ 10s
         energy:0 = 1600000000
         work" => [
        "@5 jouleprint_source_info hw_id=package-0 reason=malformed: 1",
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "@5 no hw_power_watts hw_id=package-0",
        "hw_energy_joules_total hw_id=package-0: 600",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 300",
    ];
    garbage_from_the_start_on_one_socket_waits_for_it_to_heal:
        "zone 0 package-0 garbage
         zone 1 package-1 1000000000
         @ 5s
         energy:0 = 1000000000
         energy:1 += 100_000_000
         @ 10s
         energy:0 += 300_000_000
         energy:1 += 100_000_000" => [
        "@0 jouleprint_source_info hw_id=package-0 reason=malformed: 1",
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "hw_energy_joules_total hw_id=package-0 origin=measured: 300",
        "no hw_energy_joules_total hw_type=cpu origin=estimated",
    ];
    garbage_from_the_start_on_the_only_socket_is_estimated:
        "zone 0 package-0 garbage
         @ 5s
         energy:0 = 1000000000
         work" => [
        "jouleprint_source_up source=rapl hw_id=: 0",
        "jouleprint_source_info source=rapl hw_id=package-0 reason=malformed: 1",
        "no hw_energy_joules_total origin=measured",
        "hw_energy_joules_total hw_id=cpu origin=estimated: 267.1875",
    ];
    a_fall_from_22_megajoules_that_stays_is_a_reset:
        "zone 0 package-0 22000000000000 0
         @ 5s
         energy:0 = 200000000
         @ 10s
         energy:0 += 300_000_000" => [
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "hw_energy_joules_total hw_id=package-0: 300",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
        "no jouleprint_quarantined_energy_joules_total",
    ];
    a_fall_from_22_megajoules_for_one_reading_loses_nothing:
        "zone 0 package-0 22000000000000 0
         @ 5s
         energy:0 = 200000000
         @ 10s
         energy:0 = 22000600000000" => [
        "hw_energy_joules_total hw_id=package-0: 600",
        "hw_power_watts hw_id=package-0: 60",
        "no jouleprint_quarantined_energy_joules_total",
    ];
    a_rise_to_22_megajoules_for_one_reading_is_refused_and_loses_nothing:
        "zone 0 package-0 200000000 0
         @ 5s
         energy:0 = 22000000000000
         @ 10s
         energy:0 = 800000000" => [
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "@5 jouleprint_source_errors_total hw_id=package-0 reason=implausible: 1",
        "jouleprint_quarantined_energy_joules_total hw_id=package-0 reason=implausible: 21999800",
        "hw_energy_joules_total hw_id=package-0: 600",
    ];
    a_rise_to_22_megajoules_that_stays_is_refused_and_counted_from_there:
        "zone 0 package-0 200000000 0
         @ 5s
         energy:0 = 22000000000000
         @ 10s
         energy:0 += 300_000_000" => [
        "jouleprint_quarantined_energy_joules_total hw_id=package-0 reason=implausible: 21999800",
        "hw_energy_joules_total hw_id=package-0: 300",
    ];
    a_tick_without_proc_stat_waits_for_the_next_and_nothing_is_misplaced:
        "zone 0 package-0 1000000000
         @ 5s
         energy:0 += 300_000_000
         work
         proc/stat = garbage
         @ 10s
         energy:0 += 300_000_000
         cgroup/system.slice/{a.service/cpu.stat,cpu.stat} += 1000000
         == proc/stat
         cpu0 200 0 0 0 0 0 0
         cpu1 200 0 0 0 0 0 0
         ==" => [
        "@5 jouleprint_source_up source=cpu: 0",
        "@5 jouleprint_source_info source=cpu reason=malformed: 1",
        "@5 hw_energy_joules_total hw_id=package-0: 0",
        "jouleprint_source_up source=cpu: 1",
        "jouleprint_source_errors_total source=cpu reason=malformed: 1",
        "hw_energy_joules_total hw_id=package-0: 600",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 300",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 300",
    ];
    dies_that_advance_alike_are_one_counter:
        "zone 0 package-0-die-0 1000000000
         zone 1 package-0-die-1 1000000000
         ! in-step
         @ 5s
         energy:0 += 68_000_000
         energy:1 += 68_000_000" => [
        "hw_host_energy_joules_total origin=measured: 68",
        "hw_energy_joules_total hw_id=package-0-die-0: 68",
        "jouleprint_domain_energy_joules_total hw_id=package-0-die-1 parent=: 68",
    ];
    half_an_hour_without_a_reading_may_hide_wraps_and_is_a_lower_bound:
        "zone 0 package-0 1000000000
         @ 1795s
         energy:0 += 30_811_000_000" => [
        "hw_energy_joules_total hw_id=package-0: 30811",
        "jouleprint_meter_gap_seconds_total hw_id=package-0: 1795",
        // A mean power is not taken to have held for half an hour either.
        "hw_energy_joules_total hw_id=memory origin=estimated: 0",
    ];
    a_unit_that_is_restarted_between_two_ticks_keeps_all_it_used:
        "zone 0 package-0 1000000000
         @ 5s
         energy:0 += 100_000_000
         proc/stat[cpu0] += 100
         cgroup/system.slice/cpu.stat += 1000000
         - cgroup/system.slice/a.service
         cgroup/system.slice/a.service/cpu.stat = usage_usec 400000
         @ 10s
         energy:0 += 100_000_000
         proc/stat[cpu0] += 100
         cgroup/system.slice/cpu.stat += 1000000
         cgroup/system.slice/a.service/cpu.stat += 1000000" => [
        "@5 jouleprint_job_energy_joules_total job_id=a.service origin=measured: 100",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 200",
        "jouleprint_job_cpu_seconds_total job_id=a.service: 2",
        "jouleprint_jobs: 1",
    ];
    without_meminfo_memory_is_missing_and_not_zero:
        "- proc/meminfo
         zone 0 package-0 1000000000
         @ 5s
         energy:0 += 300_000_000
         work" => [
        "jouleprint_source_up source=estimate hw_id=memory: 0",
        "jouleprint_source_info source=estimate hw_id=memory reason=missing: 1",
        "no hw_energy_joules_total hw_type=memory",
        "no jouleprint_residual_energy_joules_total hw_type=memory",
    ];
    without_a_cgroup_mount_all_use_is_the_systems:
        "zone 0 package-0 1000000000
         - cgroup
         @ 5s
         energy:0 += 300_000_000
         proc/stat[cpu0] += 100" => [
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=missing: 1",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 300",
        "jouleprint_cgroup_watch: 0",
        "jouleprint_jobs: 0",
        "no jouleprint_job_info",
    ];
    an_empty_cgroup_mount_is_missing_too:
        "- cgroup/cgroup.controllers
         - cgroup/system.slice
         @ 5s" => [
        "jouleprint_source_info source=cgroup reason=missing: 1",
    ];
    a_private_view_of_v2_is_said_and_nobody_is_charged_through_it:
        "zone 0 package-0 1000000000
         cgroup/cgroup.events = populated 1
         @ 5s
         energy:0 += 300_000_000
         work" => [
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=private_namespace: 1",
        "jouleprint_jobs: 0",
        "no jouleprint_job_info",
    ];
    a_private_view_of_v1_is_said:
        "- cgroup/cgroup.controllers
         cgroup/cpuacct/notify_on_release = 0
         @ 5s" => [
        "jouleprint_source_info source=cgroup reason=private_namespace: 1",
    ];
    a_broken_account_of_one_group_is_counted_and_its_use_is_not_lost:
        "zone 0 package-0 1000000000
         cgroup/system.slice/b.service/cpu.stat = usage_usec 0
         @ 5s
         energy:0 += 300_000_000
         work
         cgroup/system.slice/a.service/cpu.stat = garbage
         @ 10s
         energy:0 += 300_000_000
         proc/stat[cpu{0..1}] += 100
         cgroup/system.slice/cpu.stat += 1000000
         cgroup/system.slice/a.service/cpu.stat = usage_usec 3000000" => [
        "@5 jouleprint_source_errors_total source=cgroup reason=malformed: 1",
        "@5 jouleprint_residual_energy_joules_total account=system hw_type=cpu: 300",
        "jouleprint_job_cpu_seconds_total job_id=a.service: 2",
        "hw_energy_joules_total hw_id=package-0: 600",
    ];
}
