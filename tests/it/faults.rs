//! What goes wrong on real machines, and which series says so. Each case is a machine, what happens to
//! it, and lines of the page: `NAME label=value …: VALUE`, or `no NAME label=value …`; with `@5` in
//! front the page at 5 s is meant, else the last one. On every page of every case everything adds up
//! and nothing falls.

use crate::page::{Page, Sample};
use crate::tree::{Ground, Host, Run, at};
use jouleprint::job::Resolvers;
use jouleprint::job::hierarchy;
use jouleprint::job::processor::Topology;
use jouleprint::job::tree::{Surroundings, Tree};
use jouleprint::model::identity::{JobKind, Origin};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::time::Moment;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

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

    /// Measured and estimated joules of one meter would be one mixed series.
    fn never_mixes(&self) {
        let of = |origin: Origin| -> BTreeSet<&str> {
            let labels = [("origin", origin.as_str())];
            let meters = self.page.all("hw_energy_joules_total", &labels);
            meters.into_iter().map(|sample: &Sample| sample.labels["hw_id"].as_str()).collect()
        };
        assert!(of(Origin::Measured).is_disjoint(&of(Origin::Estimated)), "{}", self.text);
    }
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
    garbage_in_proc_stat_is_seen_and_the_jobs_are_still_charged:
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
        "@5 hw_energy_joules_total hw_id=package-0: 300",
        "@5 jouleprint_job_energy_joules_total job_id=a.service origin=measured: 300",
        "jouleprint_source_up source=cpu: 1",
        "jouleprint_source_errors_total source=cpu reason=malformed: 1",
        "hw_energy_joules_total hw_id=package-0: 600",
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

/// A kernel file that dies while it is open: the name of a thread, a few digits, which is gone with
/// the thread (ESRCH), as the counter of a zone is gone with its module.
struct MortalFile {
    path: PathBuf,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MortalFile {
    fn new(text: &str) -> MortalFile {
        let (stop, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(std::fs::read_link("/proc/thread-self").expect("procfs")).expect("listened to");
            let _ = wait.recv();
        });
        let place = told.recv().expect("told");
        let path = PathBuf::from("/proc").join(place).join("comm");
        let file = MortalFile { path, stop: Some(stop), thread: Some(thread) };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("a thread's name can be written");
    }

    fn die(&mut self) {
        self.stop = None;
        self.thread.take().expect("dies once").join().expect("it only waits");
        // The entry goes a moment after the thread.
        while self.path.exists() {
            std::thread::yield_now();
        }
    }
}

/// A run whose package-0 can die, beside a package-1 that lives.
fn mortal_run() -> (Run, MortalFile) {
    let ground = ground("zone 0 package-0 1000000000\nzone 1 package-1 1000000000");
    let parts = ground.parts();
    let file = MortalFile::new("1000000000");
    // The sampler opens its files at the first tick, after discovery.
    ground.remove("sys/class/powercap/intel-rapl:0/energy_uj");
    ground.link("sys/class/powercap/intel-rapl:0/energy_uj", file.path.to_str().expect("UTF-8"));
    (Run::of(ground, parts), file)
}

#[test]
fn a_zone_that_goes_and_comes_back_brings_its_energy_and_its_claims() {
    let (mut run, mut file) = mortal_run();
    file.write("1300000000");
    run.step(5, "energy:1 += 100_000_000\nwork");
    run.shows(&["hw_energy_joules_total hw_id=package-0: 300"]);

    file.die();
    run.step(10, "energy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 0",
        "jouleprint_source_info hw_id=package-0 reason=io: 1",
        "no hw_power_watts hw_id=package-0",
        "hw_power_watts hw_id=package-1: 20",
    ]);

    run.step(15, "- sys/class/powercap/intel-rapl:0\nenergy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_info hw_id=package-0 reason=missing: 1",
        "jouleprint_source_last_success_timestamp_seconds hw_id=package-0: 1767225605",
        "hw_energy_joules_total hw_id=package-0: 300",
        "hw_energy_joules_total hw_id=package-1: 300",
    ]);

    run.step(20, "zone 0 package-0 1900000000\nenergy:1 += 100_000_000");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=io: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=missing: 1",
        "jouleprint_meter_resets_total hw_id=package-0: 0",
        "hw_energy_joules_total hw_id=package-0: 900",
        "hw_power_watts hw_id=package-0: 40",
        // Half of what package-0 drew, and of what package-1 drew while somebody ran.
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 600",
        "jouleprint_residual_energy_joules_total account=unattributed hw_type=cpu: 100",
    ]);
}

#[test]
fn an_io_error_on_one_socket_leaves_the_other_alone_and_loses_no_energy() {
    let (mut run, mut file) = mortal_run();
    file.die();
    // From here on the path is a directory: EISDIR, which is no better than EIO.
    run.ground.remove("sys/class/powercap/intel-rapl:0/energy_uj");
    run.ground.change("sys/class/powercap/intel-rapl:0/energy_uj/");
    for seconds in [5, 10, 15] {
        run.step(seconds, "energy:1 += 100_000_000\nwork");
        run.shows(&[
            "jouleprint_source_up hw_id=package-0: 0",
            "jouleprint_source_info hw_id=package-0 reason=io: 1",
            "jouleprint_source_up hw_id=package-1: 1",
            "hw_power_watts hw_id=package-1: 20",
            "no hw_host_power_watts origin=measured",
        ]);
        run.never_mixes();
    }
    run.step(20, "- energy:0\nenergy:0 = 1600000000\nenergy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=io: 3",
        "hw_energy_joules_total hw_id=package-0: 600",
        "hw_power_watts hw_id=package-0: 30",
        "hw_energy_joules_total hw_id=package-1: 400",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 500",
    ]);
}

#[test]
fn proc_stat_that_cannot_be_read_is_said_and_taken_up_again() {
    let ground = ground("zone 0 package-0 1000000000");
    let mut file = MortalFile::new("cpu0 100");
    ground.remove("proc/stat");
    ground.link("proc/stat", file.path.to_str().expect("UTF-8"));
    let mut run = Run::start(ground);
    file.write("cpu0 300");
    let unit = "cgroup/system.slice/{cpu.stat,a.service/cpu.stat} += 1000000";
    run.step(5, &format!("energy:0 += 300_000_000\n{unit}"));
    run.shows(&["jouleprint_residual_energy_joules_total account=system origin=measured: 150"]);
    file.die();
    run.step(10, &format!("energy:0 += 300_000_000\n{unit}"));
    run.shows(&[
        "jouleprint_source_up source=cpu: 0",
        "jouleprint_source_info source=cpu reason=io: 1",
        "jouleprint_source_up hw_id=package-0: 1",
        "hw_energy_joules_total hw_id=package-0: 600",
    ]);
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

#[test]
fn counters_for_root_only_are_said_to_be_forbidden_and_are_no_zeros() {
    let ground = ground("zone 0 package-0 1000000000\n! still energy:0");
    set_mode(&ground, "sys/class/powercap/intel-rapl:0/energy_uj", 0);
    let run = without_privileges(|| {
        let mut run = Run::start(ground);
        run.step(5, "work");
        run
    });
    run.shows(&[
        "jouleprint_source_up source=rapl hw_id=: 0",
        "jouleprint_source_info source=rapl hw_id= reason=permission_denied: 1",
        "jouleprint_source_info source=rapl hw_id=package-0 reason=permission_denied: 1",
        "no hw_energy_joules_total origin=measured",
        "hw_energy_joules_total hw_id=cpu origin=estimated: 267.1875",
    ]);
}

#[test]
fn a_mount_of_control_groups_that_may_not_be_listed_is_forbidden_and_not_missing() {
    let ground = ground("zone 0 package-0 1000000000");
    set_mode(&ground, "cgroup", 0);
    let run = without_privileges(|| Run::start(ground));
    run.shows(&[
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=permission_denied: 1",
    ]);
    set_mode(&run.ground, "cgroup", 0o700);
}

#[test]
fn any_name_of_a_group_is_a_label() {
    let names =
        [r#"a"quote.service"#, r"a\back.service", "a\nline.service", "ä€𝄞.service", "{a=\"b\"} 1.service"];
    let ground = ground("zone 0 package-0 1000000000");
    for name in names {
        ground.write(&format!("cgroup/system.slice/{name}/cpu.stat"), "usage_usec 0\n");
    }
    let mut run = Run::start(ground);
    for name in names {
        run.ground.write(&format!("cgroup/system.slice/{name}/cpu.stat"), "usage_usec 200000\n");
    }
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/system.slice/cpu.stat += 1000000");
    for name in names {
        let labels = [("job_id", name), ("origin", "measured")];
        assert_eq!(
            run.page.value("jouleprint_job_energy_joules_total", &labels),
            Some("20.000000"),
            "{name}"
        );
        let path = format!("/system.slice/{name}");
        let labels = [("job_id", name), ("process_linux_cgroup", path.as_str())];
        assert_eq!(run.page.value("jouleprint_job_info", &labels), Some("1"), "{name}");
    }
}

#[test]
fn names_too_long_for_a_label_are_cut_and_stay_apart() {
    // 255 bytes are a file name's limit; a unit inside a unit is named after both.
    let outer = format!("{}.service", "o".repeat(240));
    let inner = |last: &str| format!("{}{last}.scope", "i".repeat(240));
    let ground = ground("zone 0 package-0 1000000000");
    let paths = [String::new(), format!("/{}", inner("1")), format!("/{}", inner("2"))];
    let write = |ground: &Ground, used: [u64; 3]| {
        for (path, used) in paths.iter().zip(used) {
            ground.write(
                &format!("cgroup/system.slice/{outer}{path}/cpu.stat"),
                &format!("usage_usec {used}\n"),
            );
        }
    };
    write(&ground, [0, 0, 0]);
    let mut run = Run::start(ground);
    write(&run.ground, [1_000_000, 300_000, 200_000]);
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/system.slice/cpu.stat += 1000000");
    let jobs = run.page.all("jouleprint_job_energy_joules_total", &[("origin", "measured")]);
    let long: Vec<&&Sample> = jobs.iter().filter(|job| job.labels["job_id"].starts_with("ooo")).collect();
    let joules: BTreeSet<&str> = long.iter().map(|job| job.text.as_str()).collect();
    assert_eq!(joules, BTreeSet::from(["50.000000", "30.000000", "20.000000"]));
    assert!(long.iter().all(|job| job.labels["job_id"].len() <= 200), "{long:#?}");
}

#[test]
fn a_name_that_is_no_text_is_left_to_the_group_around_it() {
    let ground = ground("zone 0 package-0 1000000000");
    let name = std::ffi::OsString::from_vec(b"\xff\xfe.service".to_vec());
    let path = ground.path("cgroup/system.slice").join(name);
    std::fs::create_dir(&path).expect("made");
    std::fs::write(path.join("cpu.stat"), "usage_usec 0\n").expect("written");
    let mut run = Run::start(ground);
    std::fs::write(path.join("cpu.stat"), "usage_usec 1000000\n").expect("written");
    run.step(5, "energy:0 += 100_000_000\nwork\ncgroup/system.slice/cpu.stat += 1000000");
    run.shows(&[
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 50",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 50",
        "jouleprint_jobs: 1",
    ]);
    // Nor does its end disturb anybody.
    std::fs::remove_dir_all(&path).expect("removed");
    run.step(10, "energy:0 += 100_000_000\nwork");
    run.shows(&["jouleprint_job_energy_joules_total job_id=a.service origin=measured: 100"]);
}

#[test]
fn jobs_ten_levels_deep_are_each_charged_with_their_own_use() {
    let ground = ground("zone 0 package-0 1000000000");
    let path = |depth: u32| (0..depth).map(|level| format!("/l{level}.service")).collect::<String>();
    let write = |ground: &Ground, base: u64| {
        for depth in 1..=10 {
            // Each uses 0.1 s, and counts those inside it too.
            let used = base * u64::from(11 - depth) * 100_000;
            ground.write(&format!("cgroup{}/cpu.stat", path(depth)), &format!("usage_usec {used}\n"));
        }
    };
    write(&ground, 0);
    let mut run = Run::start(ground);
    write(&run.ground, 1);
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100");
    for depth in 1..=10 {
        let id = path(depth).trim_start_matches('/').to_owned();
        let labels = [("job_id", id.as_str()), ("origin", "measured")];
        assert_eq!(run.page.value("jouleprint_job_energy_joules_total", &labels), Some("10.000000"), "{id}");
    }
}

#[test]
fn jobs_beyond_the_bound_go_to_overflow_until_there_is_room() {
    let ground = ground("zone 0 package-0 1000000000\n- cgroup/system.slice/a.service");
    ground.write("config.yaml", "zone: DE\nintensity: 360\njobs: {max: 2}\n");
    ground.change("cgroup/system.slice/{a,b,c,d}.service/cpu.stat = usage_usec 0");
    let mut run = Run::start(ground);
    let all =
        "energy:0 += 400_000_000\nproc/stat[cpu{0..1}] += 200\ncgroup/system.slice/cpu.stat += 4000000\n";
    run.step(5, &format!("{all}cgroup/system.slice/{{a,b,c,d}}.service/cpu.stat += 1000000"));
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_jobs_overflow_total: 2",
        "jouleprint_job_energy_joules_total origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
    ]);

    // One on the page ends. Not before it has left the page is there room for another.
    let jobs = |run: &Run| -> BTreeSet<String> {
        run.page.all("jouleprint_job_info", &[]).iter().map(|job| job.labels["job_id"].clone()).collect()
    };
    let before = jobs(&run);
    let ended = before.first().expect("two jobs").clone();
    run.step(10, &format!("- cgroup/system.slice/{ended}"));
    let rest: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(|name| !ended.starts_with(name)).collect();
    let use_rest = format!(
        "energy:0 += 300_000_000\nproc/stat[cpu0] += 300\ncgroup/system.slice/cpu.stat += 3000000\n\
         cgroup/system.slice/{{{}}}.service/cpu.stat += 1000000",
        rest.join(",")
    );
    run.step(15, &use_rest);
    run.shows(&[
        "jouleprint_jobs: 1",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 400",
        "jouleprint_retired_energy_joules origin=measured: 0",
    ]);
    for seconds in [70, 130, 190, 250, 310] {
        run.step(seconds, "energy:0 += 1_000_000");
    }
    run.shows(&["jouleprint_retired_energy_joules origin=measured: 100", "jouleprint_jobs: 1"]);
    run.step(315, &use_rest);
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_jobs_overflow_total: 2",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 500",
    ]);
    let after = jobs(&run);
    assert!(!after.contains(&ended) && after.len() == 2, "{before:?} {after:?}");
    let promoted = after.difference(&before).next().expect("another one");
    run.shows(&[&format!("jouleprint_job_energy_joules_total job_id={promoted} origin=measured: 100")]);
}

#[test]
fn groups_beyond_the_bound_are_charged_to_overflow_and_looked_at_when_there_is_room() {
    let ground = ground("zone 0 package-0 1000000000\n- cgroup/system.slice/a.service");
    ground.change("cgroup/system.slice/{a,b,c,d}.service/cpu.stat = usage_usec 0");
    let mut parts = ground.parts();
    let surroundings = Surroundings {
        procfs: ground.path("proc"),
        topology: Topology::read(&ground.path("sys")),
        wants_reservations: false,
        max_groups: 3,
    };
    let roots = hierarchy::find(&ground.path("cgroup")).expect("there");
    parts.tree = Some(Tree::open(roots, Resolvers::new(Vec::new(), vec![JobKind::Unit]), surroundings));
    let mut run = Run::of(ground, parts);
    run.shows(&[
        "jouleprint_cgroups: 3",
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=limit: 1",
    ]);
    // The slice and two of its four units are seen; what it uses beyond them is that of the others.
    let all =
        "energy:0 += 400_000_000\nproc/stat[cpu{0..1}] += 200\ncgroup/system.slice/cpu.stat += 4000000\n";
    run.step(5, &format!("{all}cgroup/system.slice/{{a,b,c,d}}.service/cpu.stat += 1000000"));
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_job_energy_joules_total origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 0",
    ]);
    let seen: Vec<String> =
        run.page.all("jouleprint_job_info", &[]).iter().map(|job| job.labels["job_id"].clone()).collect();
    run.step(10, &format!("- cgroup/system.slice/{}\n- cgroup/system.slice/{}", seen[0], seen[1]));
    run.shows(&["jouleprint_cgroups: 3", "jouleprint_source_up source=cgroup: 1", "jouleprint_jobs: 2"]);
    let rest: Vec<&str> =
        ["a", "b", "c", "d"].into_iter().filter(|name| !seen.contains(&format!("{name}.service"))).collect();
    run.step(
        15,
        &format!(
            "energy:0 += 200_000_000\nproc/stat[cpu0] += 200\ncgroup/system.slice/cpu.stat += 2000000\n\
             cgroup/system.slice/{{{}}}.service/cpu.stat += 1000000",
            rest.join(",")
        ),
    );
    for name in rest {
        run.shows(&[&format!(
            "jouleprint_job_energy_joules_total job_id={name}.service origin=measured: 100"
        )]);
    }
}

#[test]
fn the_wall_clock_may_jump_and_energy_does_not() {
    const HOUR: u64 = 3_600;
    let mut run = run("zone 0 package-0 1000000000\nzone 0:0 dram 1000000000");
    let jumped = |seconds: u64, wall: u64| Moment { wall: Nanos::from_seconds(wall), ..at(seconds) };
    let start = at(0).wall.get() / 1_000_000_000;
    for (seconds, wall) in [(5, start - HOUR), (10, start + 24 * HOUR), (15, start + 15)] {
        run.ground.change(&expand("energy:0 += 300_000_000\nenergy:0:0 += 50_000_000\nwork"));
        run.tick(jumped(seconds, wall));
        run.shows(&[
            "hw_power_watts hw_id=package-0: 60",
            "hw_power_watts hw_id=package-0-dram: 10",
            &format!("jouleprint_snapshot_timestamp_seconds: {wall}"),
            &format!("jouleprint_source_last_success_timestamp_seconds hw_id=package-0: {wall}"),
        ]);
    }
    run.shows(&[
        "hw_host_energy_joules_total: 1050",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 450",
        "jouleprint_meter_gap_seconds_total hw_id=package-0: 0",
        "no jouleprint_quarantined_energy_joules_total",
    ]);
}

fn suspended(seconds: u64) -> Moment {
    Moment { boottime: at(seconds + 8 * 3_600).boottime, wall: at(seconds + 8 * 3_600).wall, ..at(seconds) }
}

#[test]
fn a_night_asleep_adds_what_the_counter_says_and_no_eight_hours_of_estimate() {
    let mut run = run("zone 0 package-0 1000000000");
    run.step(5, "energy:0 += 300_000_000\nwork");
    run.ground.change(&expand("energy:0 += 350_000_000\nwork"));
    run.tick(suspended(10));
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 650",
        "hw_power_watts hw_id=package-0: 70",
        // 38 W for 10 s awake.
        "hw_energy_joules_total hw_id=memory origin=estimated: 380",
        "jouleprint_meter_gap_seconds_total hw_id=package-0: 0",
    ]);
}

#[test]
fn a_counter_that_lost_its_content_asleep_is_a_reset_even_where_a_wrap_would_fit() {
    let mut run = run("zone 0 package-0 262043328850");
    run.ground.change(&expand("energy:0 = 200000000\nwork"));
    run.tick(suspended(5));
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 0",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
        "jouleprint_meter_wraps_total hw_id=package-0: 0",
    ]);
}

#[test]
fn a_unit_restarted_in_a_storm_whose_events_were_lost_is_found_again() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("procfs");
    let storm = limit.trim().parse::<usize>().expect("a number") / 2 + 1;
    let mut run = run("zone 0 package-0 1000000000");
    // A directory that is renamed makes two events; the queue is full before the last.
    let [here, there] = ["passing", "passed"].map(|name| run.ground.path("cgroup/system.slice").join(name));
    std::fs::create_dir(&here).expect("made");
    for _ in 0..storm / 2 + 1 {
        std::fs::rename(&here, &there).expect("renamed");
        std::fs::rename(&there, &here).expect("renamed");
    }
    run.ground
        .change("- cgroup/system.slice/a.service\ncgroup/system.slice/a.service/cpu.stat = usage_usec 0");
    // The storm is read over a few ticks.
    for seconds in [5, 10, 15] {
        run.step(seconds, "");
    }
    run.step(20, "energy:0 += 100_000_000\nwork");
    run.step(25, "energy:0 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_jobs: 1",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 100",
    ]);
}

#[test]
fn a_default_weight_is_no_reservation() {
    // 100 is what systemd and the kernel give to every group that asked for nothing.
    let text = "zone 0 package-0 1000000000\ncgroup/system.slice/a.service/cpu.weight = 100";
    let ground = ground(text);
    ground.write("config.yaml", "zone: DE\nidle: {policy: reserved, floor_watts: {package-0: 40}}\n");
    let mut run = Run::start(ground);
    run.step(5, "energy:0 += 300_000_000\nwork");
    run.shows(&[
        "jouleprint_residual_energy_joules_total account=idle hw_type=cpu: 200",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 50",
    ]);
}

#[test]
fn no_floor_is_learnt_from_an_interval_of_which_only_the_end_was_seen() {
    let mut run = run("zone 0 package-0 1000000000\nzone 1 package-1 1000000000");
    for window in 0..35_u64 {
        let before = 1_000_000_000 + window * 600_000_000;
        // Both CPUs are busy while the counter cannot be read, and idle when it can again: what has
        // been drawn since is no idle power.
        run.step(10 * window + 5, "energy:0 = x\nproc/stat[cpu{0..1}] += 500\nenergy:1 += 1_000_000");
        run.step(10 * window + 10, &format!("energy:0 = {}\nenergy:1 += 1_000_000", before + 600_000_000));
    }
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 21000",
        "jouleprint_idle_floor_watts hw_id=package-0 method=unlearnt: 0",
        "jouleprint_idle_floor_watts hw_id=package-1 method=unlearnt: 0",
        "no jouleprint_idle_floor_watts method=learnt",
    ]);
}

#[test]
fn a_slice_beyond_the_bound_is_counted_like_any_job() {
    let ground = ground("zone 0 package-0 1000000000\ncgroup/batch.slice/cpu.stat = usage_usec 0");
    ground.write("config.yaml", "zone: DE\njobs: {max: 1}\n");
    let mut run = Run::start(ground);
    for seconds in [5, 10] {
        run.step(
            seconds,
            "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/batch.slice/cpu.stat += 1000000",
        );
    }
    run.shows(&[
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
        "jouleprint_jobs_overflow_total: 1",
    ]);
}

#[test]
fn a_glitch_of_one_reading_does_not_forget_who_ran_before_it() {
    let mut run = run("zone 0 package-0 200000000 0");
    // The unit runs in the first interval, at the end of which the counter lies; the system in the second.
    let unit = "proc/stat[cpu0] += 100\ncgroup/system.slice/{cpu.stat,a.service/cpu.stat} += 1000000";
    run.step(5, &format!("energy:0 = 22000000000000\n{unit}"));
    run.step(10, "energy:0 = 800000000\nproc/stat[cpu0] += 100");
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 600",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 300",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 300",
    ]);
}
