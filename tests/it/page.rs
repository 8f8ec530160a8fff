//! The page as a reader sees it: text in, samples out, and what must be true of any page of ours and
//! of any page after another. Sums are taken over the digits of the text, never over floats. The slow
//! tier reads what the real program answers with it.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a series in order of their names.
pub(crate) type Labels = BTreeMap<String, String>;

/// One line of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The family it stands in, without `_total` and the like.
    pub(crate) family: String,
    /// The name as written.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: Labels,
    /// The value as written.
    pub(crate) text: String,
}

impl Sample {
    /// The value in nano units: µJ, µW and ms have room in it, and so have 17,000 t CO2e. Of one below 0,
    /// which is what is owed, its size.
    pub(crate) fn nano(&self) -> u128 {
        parse_nano(&self.text).expect("checked when the page was parsed")
    }
}

/// A parsed page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// In the order of the page.
    pub(crate) samples: Vec<Sample>,
    kinds: BTreeMap<String, String>,
}

impl Page {
    /// Reads OpenMetrics text; anything that a strict reader would refuse is an error with its line.
    pub(crate) fn parse(text: &str) -> Result<Page, String> {
        Page::read(text.strip_suffix("# EOF\n").ok_or("the last line is not # EOF")?)
    }

    /// Reads the older text format 0.0.4, no less strictly. What it holds is named as in OpenMetrics,
    /// so that a page is the same page in both.
    pub(crate) fn parse_text(text: &str) -> Result<Page, String> {
        Page::read(&upgrade(text)?)
    }

    /// OpenMetrics without its end mark.
    fn read(body: &str) -> Result<Page, String> {
        let mut page = Page::default();
        let mut family = String::new();
        let mut seen = BTreeMap::new();
        for (number, line) in (1..).zip(body.lines()) {
            let at = |message: &str| format!("line {number}: {message}: {line}");
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                    return Err(at("a comment needs a word, a name and a text"));
                };
                if name != family && page.kinds.contains_key(name) {
                    return Err(at("the family was declared before"));
                }
                family = name.to_owned();
                match word {
                    "TYPE" => {
                        page.kinds.insert(family.clone(), rest.to_owned());
                    }
                    "UNIT" if !name.ends_with(&format!("_{rest}")) => {
                        return Err(at("the name does not end in its unit"));
                    }
                    "HELP" | "UNIT" => {}
                    _ => return Err(at("no such comment")),
                }
                continue;
            }
            let kind = page.kinds.get(&family).ok_or_else(|| at("a sample without a type"))?;
            let sample = parse_sample(&family, line).map_err(|message| at(&message))?;
            if sample.text.starts_with('-') && ![CARRY, REVISION].contains(&&*family) {
                return Err(at("a value below 0"));
            }
            let suffix = sample.name.strip_prefix(&family).ok_or_else(|| at("not of this family"))?;
            let is_fitting = match kind.as_str() {
                "counter" => suffix == "_total",
                "gauge" => suffix.is_empty(),
                "info" => suffix == "_info" && sample.text == "1",
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => return Err(at("an unknown type")),
            };
            if !is_fitting {
                return Err(at("the name or value does not fit the type"));
            }
            if seen.insert((sample.name.clone(), sample.labels.clone()), number).is_some() {
                return Err(at("the series is there already"));
            }
            page.samples.push(sample);
        }
        Ok(page)
    }

    /// All samples with this name and at least these labels; an empty label is none.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample, key: &str, value: &str| {
            sample.labels.get(key).map_or("", String::as_str) == value
        };
        let is_it = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(key, value)| has(sample, key, value))
        };
        self.samples.iter().filter(is_it).collect()
    }

    /// The text of the one series with this name and these labels; `None` if there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let found = self.all(name, labels);
        assert!(found.len() < 2, "more than one {name} with {labels:?}");
        found.first().map(|sample| sample.text.as_str())
    }

    /// The sum of all series with this name and at least these labels, in nano units.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u128 {
        self.all(name, labels).into_iter().map(Sample::nano).sum()
    }

    /// Sums by the values of some labels.
    fn sums_by<'a>(&self, names: &[&str], keys: &[&'a str]) -> Sums<'a> {
        let mut sums = Sums::new();
        for sample in self.samples.iter().filter(|sample| names.contains(&sample.name.as_str())) {
            let group = keys
                .iter()
                .map(|key| (*key, sample.labels.get(*key).cloned().unwrap_or_default()))
                .collect::<Vec<_>>();
            *sums.entry(group).or_default() += sample.nano();
        }
        sums
    }

    fn is_counter(&self, sample: &Sample) -> bool {
        match self.kinds.get(&sample.family).map(String::as_str) {
            Some("counter" | "histogram") => true,
            // Totals of the jobs that left: a gauge by name, since it takes in what was shown elsewhere.
            _ => sample.name.starts_with("jouleprint_retired_"),
        }
    }
}

/// What meters have drawn and the one around them has not shown: below 0.
const CARRY: &str = "jouleprint_meter_carry_joules";
/// And what was charged too much.
const REVISION: &str = "jouleprint_emissions_revision_co2e_grams";

type Sums<'a> = BTreeMap<Vec<(&'a str, String)>, u128>;

/// Conservation, on the text: every joule and gram that is counted stands in exactly one account, and
/// where energy is used something is emitted.
pub(crate) fn check_identity(page: &Page) -> Result<(), String> {
    let same = |what: &str, one: Sums<'_>, other: Sums<'_>| {
        if one == other { Ok(()) } else { Err(format!("{what}: {one:?} against {other:?}")) }
    };
    let is_owed = |sample: &&Sample| sample.text.starts_with('-') || sample.nano() == 0;
    if let Some(gift) = page.all(CARRY, &[]).into_iter().find(|sample| !is_owed(sample)) {
        return Err(format!("{CARRY} is above 0: {}", gift.text));
    }
    let accounts = [
        "jouleprint_job_energy_joules_total",
        "jouleprint_residual_energy_joules_total",
        "jouleprint_retired_energy_joules",
    ];
    let by_column = ["host", "hw_type", "gpu", "origin"];
    same(
        "meters and accounts differ",
        page.sums_by(&["hw_energy_joules_total"], &by_column),
        page.sums_by(&accounts, &by_column),
    )?;
    same(
        "the host and its meters differ",
        page.sums_by(&["hw_host_energy_joules_total", CARRY], &["host", "origin"]),
        page.sums_by(&["hw_energy_joules_total"], &["host", "origin"]),
    )?;
    let grams = [
        "jouleprint_job_emissions_co2e_grams_total",
        "jouleprint_residual_emissions_co2e_grams_total",
        "jouleprint_retired_emissions_co2e_grams",
    ];
    let by_zone = ["host", "origin", "grid_zone"];
    same(
        "emissions of the host and of the accounts differ",
        page.sums_by(&["jouleprint_host_emissions_co2e_grams_total"], &by_zone),
        page.sums_by(&grams, &by_zone),
    )?;
    check_groups(page)?;
    let is_used = page.sum("hw_energy_joules_total", &[]) > 0;
    if is_used && page.all("jouleprint_host_emissions_co2e_grams_total", &[]).is_empty() {
        return Err("energy is used and no emissions are on the page".to_owned());
    }
    Ok(())
}

/// Of each kind the groups and what is pending are the host, by column and by zone.
fn check_groups(page: &Page) -> Result<(), String> {
    let of_kind = |name: &str, kind: &str| -> Vec<(String, Labels, u128)> {
        let samples = page.all(name, &[("group_kind", kind)]);
        samples.iter().map(|sample| (sample.name.clone(), sample.labels.clone(), sample.nano())).collect()
    };
    let kinds: BTreeSet<String> = (page.all("jouleprint_groups_overflow_total", &[]).iter())
        .map(|sample| sample.labels["group_kind"].clone())
        .collect();
    for kind in kinds {
        for (hosts, groups, pending, keys) in [
            (
                &["hw_energy_joules_total"][..],
                "jouleprint_group_energy_joules_total",
                "jouleprint_group_pending_energy_joules",
                &["host", "hw_type", "gpu", "origin"][..],
            ),
            (
                &[
                    "jouleprint_job_emissions_co2e_grams_total",
                    "jouleprint_residual_emissions_co2e_grams_total",
                    "jouleprint_retired_emissions_co2e_grams",
                ],
                "jouleprint_group_emissions_co2e_grams_total",
                "jouleprint_group_pending_emissions_co2e_grams",
                &["host", "hw_type", "gpu", "origin", "grid_zone"],
            ),
        ] {
            let mut sums: BTreeMap<Vec<String>, u128> = BTreeMap::new();
            for (_, labels, value) in of_kind(groups, &kind).into_iter().chain(of_kind(pending, &kind)) {
                let key = keys.iter().map(|key| labels.get(*key).cloned().unwrap_or_default()).collect();
                *sums.entry(key).or_default() += value;
            }
            let of_host = page.sums_by(hosts, keys).into_iter();
            let of_host: BTreeMap<Vec<String>, u128> =
                of_host.map(|(key, sum)| (key.into_iter().map(|(_, value)| value).collect(), sum)).collect();
            if sums != of_host {
                return Err(format!("groups by {kind} and the host differ: {sums:?} against {of_host:?}"));
            }
        }
    }
    Ok(())
}

/// From one page of a process to a later one: no counter falls, and none disappears but a job's,
/// whose whole total is then in `retired`.
pub(crate) fn check_rising(before: &Page, after: &Page) -> Result<(), String> {
    check_rising_but(before, after, &[])
}

/// From the last page of one process to the first of the next: what is not about the process itself
/// goes on.
pub(crate) fn check_rising_over_a_restart(before: &Page, after: &Page) -> Result<(), String> {
    const OF_THE_PROCESS: [&str; 9] = [
        "process_cpu_seconds",
        "jouleprint_tick_duration_seconds",
        "jouleprint_ticks_skipped",
        "jouleprint_clock_steps",
        "jouleprint_suspended_seconds",
        "jouleprint_source_errors",
        "jouleprint_http_requests",
        "jouleprint_store_",
        "jouleprint_otlp_",
    ];
    check_rising_but(before, after, &OF_THE_PROCESS)
}

fn check_rising_but(before: &Page, after: &Page, left_out: &[&str]) -> Result<(), String> {
    let now: BTreeMap<(&str, &Labels), &Sample> =
        after.samples.iter().map(|sample| ((sample.name.as_str(), &sample.labels), sample)).collect();
    let mut left: BTreeMap<(&str, Labels), u128> = BTreeMap::new();
    let is_looked_at = |sample: &&Sample| !left_out.iter().any(|name| sample.family.starts_with(name));
    for sample in before.samples.iter().filter(|sample| before.is_counter(sample)).filter(is_looked_at) {
        match now.get(&(sample.name.as_str(), &sample.labels)) {
            Some(later) if later.nano() < sample.nano() => {
                let (name, labels) = (&sample.name, &sample.labels);
                return Err(format!("{name}{labels:?} fell from {} to {}", sample.text, later.text));
            }
            Some(_) => {}
            None if sample.family.starts_with("jouleprint_job_") => {
                let retired = match sample.family.as_str() {
                    "jouleprint_job_energy_joules" => "jouleprint_retired_energy_joules",
                    "jouleprint_job_emissions_co2e_grams" => "jouleprint_retired_emissions_co2e_grams",
                    _ => continue,
                };
                let kept = |key: &&String| !["job_kind", "job_id", "gpu_instance"].contains(&key.as_str());
                let column = sample.labels.iter().filter(|(key, _)| kept(key));
                let column = column.map(|(key, value)| (key.clone(), value.clone())).collect();
                *left.entry((retired, column)).or_default() += sample.nano();
            }
            None => return Err(format!("{}{:?} disappeared", sample.name, sample.labels)),
        }
    }
    for ((name, labels), left) in left {
        let value = |page: &Page| {
            let found = page.samples.iter().find(|sample| sample.name == name && sample.labels == labels);
            found.map_or(0, Sample::nano)
        };
        let taken_in = value(after) - value(before).min(value(after));
        if taken_in < left {
            return Err(format!("{name}{labels:?} rose by {taken_in}, but jobs left with {left} (nano)"));
        }
    }
    Ok(())
}

/// 0.0.4 as OpenMetrics, line by line: there a counter is declared under the name of its samples, an
/// info metric is a gauge, and there are no units.
fn upgrade(text: &str) -> Result<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<&str, &str> = types.collect();
    let upgraded = |line: &str| -> Result<String, &str> {
        if !line.starts_with('#') {
            return Ok(format!("{line}\n"));
        }
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let ["#", word @ ("HELP" | "TYPE"), name, rest] = words[..] else {
            return Err("no such comment");
        };
        let (family, kind) = match *types.get(name).ok_or("no type for this name")? {
            "counter" => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            "gauge" => name.strip_suffix("_info").map_or((name, "gauge"), |family| (family, "info")),
            "histogram" => (name, "histogram"),
            _ => return Err("an unknown type"),
        };
        Ok(format!("# {word} {family} {}\n", if word == "TYPE" { kind } else { rest }))
    };
    (1..)
        .zip(text.lines())
        .map(|(number, line)| upgraded(line).map_err(|message| format!("line {number}: {message}: {line}")))
        .collect()
}

fn parse_sample(family: &str, line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    let mut labels = Labels::new();
    let text = match rest.strip_prefix('{') {
        None => &rest[1..],
        Some(rest) => {
            let mut rest = rest;
            loop {
                let (key, value) = rest.split_once("=\"").ok_or("a label without a value")?;
                let (value, after) = unquote(value)?;
                if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    return Err(format!("{key:?} is no label name"));
                }
                if labels.insert(key.to_owned(), value).is_some() {
                    return Err(format!("label {key} twice"));
                }
                match after.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break after.strip_prefix("} ").ok_or("labels do not end")?,
                }
            }
        }
    };
    parse_nano(text).ok_or_else(|| format!("{text:?} is no plain decimal"))?;
    Ok(Sample { family: family.to_owned(), name: name.to_owned(), labels, text: text.to_owned() })
}

/// The label value up to its closing quote, and what follows.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                other => return Err(format!("an escape that is none: {other:?}")),
            }),
            char => value.push(char),
        }
    }
    Err("a label value does not end".to_owned())
}

/// The size of a plain decimal with at most nine places, in nano units.
fn parse_nano(text: &str) -> Option<u128> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(places) || places.len() > 9 {
        return None;
    }
    format!("{whole}{places:0<9}").parse().ok()
}

mod tests {
    use super::*;

    /// Two packages and an estimate, a job, a retired total, one zone: everything adds up.
    const SOUND: &str = r##"# HELP hw_host_energy_joules The host.
# TYPE hw_host_energy_joules counter
# UNIT hw_host_energy_joules joules
hw_host_energy_joules_total{host="h",hw_id="host",origin="measured"} 6.000000
hw_host_energy_joules_total{host="h",hw_id="host",origin="estimated"} 1.000000
# TYPE hw_energy_joules counter
hw_energy_joules_total{host="h",hw_type="cpu",hw_id="a",gpu="",origin="measured"} 2.000000
hw_energy_joules_total{host="h",hw_type="cpu",hw_id="b",gpu="",origin="measured"} 4.000000
hw_energy_joules_total{host="h",hw_type="memory",hw_id="m",gpu="",origin="estimated"} 1.000000
# TYPE jouleprint_job_energy_joules counter
jouleprint_job_energy_joules_total{host="h",job_kind="pod",job_id="p",hw_type="cpu",gpu="",gpu_instance="",origin="measured"} 3.000000
# TYPE jouleprint_residual_energy_joules counter
jouleprint_residual_energy_joules_total{host="h",account="idle",hw_type="cpu",gpu="",origin="measured"} 2.000000
jouleprint_residual_energy_joules_total{host="h",account="idle",hw_type="memory",gpu="",origin="estimated"} 1.000000
# TYPE jouleprint_retired_energy_joules gauge
jouleprint_retired_energy_joules{host="h",hw_type="cpu",gpu="",origin="measured"} 1.000000
# TYPE jouleprint_host_emissions_co2e_grams counter
jouleprint_host_emissions_co2e_grams_total{host="h",hw_id="host",origin="measured",grid_zone="DE"} 0.000000006
# TYPE jouleprint_job_emissions_co2e_grams counter
jouleprint_job_emissions_co2e_grams_total{host="h",job_kind="pod",job_id="p",hw_type="cpu",gpu="",gpu_instance="",origin="measured",grid_zone="DE"} 0.000000005
# TYPE jouleprint_residual_emissions_co2e_grams counter
jouleprint_residual_emissions_co2e_grams_total{host="h",account="idle",hw_type="cpu",gpu="",origin="measured",grid_zone="DE"} 0.000000001
# TYPE jouleprint_job info
jouleprint_job_info{job_id="p",process_linux_cgroup="/a \"b\"\\c\nd"} 1
# EOF
"##;

    fn edited(from: &str, to: &str) -> Page {
        assert!(SOUND.contains(from), "{from}");
        Page::parse(&SOUND.replacen(from, to, 1)).expect("still a page")
    }

    #[test]
    fn a_sound_page_is_read_and_passes() {
        let page = Page::parse(SOUND).expect("a page");
        check_identity(&page).expect("sound");
        check_rising(&page, &page).expect("standing still is no fall");
        assert_eq!(page.value("hw_energy_joules_total", &[("hw_id", "b")]), Some("4.000000"));
        assert_eq!(page.value("hw_energy_joules_total", &[("hw_id", "c")]), None);
        assert_eq!(page.sum("hw_energy_joules_total", &[]), 7_000_000_000);
        let info = page.all("jouleprint_job_info", &[]);
        assert_eq!(info[0].labels["process_linux_cgroup"], "/a \"b\"\\c\nd");
    }

    #[test]
    fn the_identity_fails_where_a_unit_is_missing_or_stands_elsewhere() {
        for (from, to, message) in [
            (
                "hw_id=\"b\",gpu=\"\",origin=\"measured\"} 4.000000",
                "hw_id=\"b\",gpu=\"\",origin=\"measured\"} 4.000001",
                "meters",
            ),
            ("origin=\"measured\"} 3.000000", "origin=\"measured\"} 2.999999", "meters"),
            ("account=\"idle\",hw_type=\"cpu\"", "account=\"idle\",hw_type=\"other\"", "meters"),
            (
                "account=\"idle\",hw_type=\"cpu\",gpu=\"\"",
                "account=\"idle\",hw_type=\"cpu\",gpu=\"g\"",
                "meters",
            ),
            (
                "hw_id=\"host\",origin=\"measured\"} 6.000000",
                "hw_id=\"host\",origin=\"measured\"} 7.000000",
                "the host",
            ),
            ("hw_id=\"host\",origin=\"estimated\"", "hw_id=\"host\",origin=\"elsewhere\"", "the host"),
            ("0.000000005", "0.000000004", "emissions"),
            ("grid_zone=\"DE\"} 0.000000001", "grid_zone=\"FR\"} 0.000000001", "emissions"),
        ] {
            let error = check_identity(&edited(from, to)).expect_err(to);
            assert!(error.starts_with(message), "{to}: {error}");
        }
    }

    #[test]
    fn a_fall_and_a_disappearance_are_seen_and_a_job_may_retire_whole() {
        let before = Page::parse(SOUND).expect("a page");
        for (from, to, message) in [
            (
                "hw_id=\"a\",gpu=\"\",origin=\"measured\"} 2.000000",
                "hw_id=\"a\",gpu=\"\",origin=\"measured\"} 1.999999",
                "fell",
            ),
            ("gpu=\"\",origin=\"measured\"} 1.000000\n", "gpu=\"\",origin=\"measured\"} 0.000000\n", "fell"),
            ("hw_id=\"a\"", "hw_id=\"c\"", "disappeared"),
            ("job_id=\"p\",hw_type", "job_id=\"q\",hw_type", "but jobs left"),
        ] {
            let error = check_rising(&before, &edited(from, to)).expect_err(to);
            assert!(error.contains(message), "{to}: {error}");
        }
        let is_jobs = |line: &&str| !line.contains("job_id=\"p\"");
        let after: String = SOUND.lines().filter(is_jobs).map(|line| format!("{line}\n")).collect();
        let retired =
            "jouleprint_retired_energy_joules{host=\"h\",hw_type=\"cpu\",gpu=\"\",origin=\"measured\"} ";
        let grams = "# TYPE jouleprint_retired_emissions_co2e_grams gauge\njouleprint_retired_emissions_co2e_grams{host=\"h\",hw_type=\"cpu\",gpu=\"\",origin=\"measured\",grid_zone=\"DE\"} ";
        let page = |joules: &str, nanograms: &str| {
            let text = after.replace(&format!("{retired}1.000000"), &format!("{retired}{joules}"));
            let text = text.replace("# EOF", &format!("{grams}0.00000000{nanograms}\n# EOF"));
            Page::parse(&text).expect("a page")
        };
        check_identity(&page("4.000000", "5")).expect("whole");
        check_rising(&before, &page("4.000000", "5")).expect("whole");
        for (joules, nanograms) in [("3.999999", "5"), ("4.000000", "4")] {
            let error = check_rising(&before, &page(joules, nanograms)).expect_err("a part is lost");
            assert!(error.contains("but jobs left"), "{error}");
        }
    }

    #[test]
    fn energy_without_any_emissions_is_seen() {
        let is_energys = |line: &&str| !line.contains("emissions");
        let text: String = SOUND.lines().filter(is_energys).map(|line| format!("{line}\n")).collect();
        let error = check_identity(&Page::parse(&text).expect("a page")).expect_err("seven joules");
        assert!(error.contains("no emissions"), "{error}");
        check_identity(&Page::default()).expect("nothing is used");
    }

    #[test]
    fn the_older_text_is_the_same_page() {
        let open = "# HELP a_joules Energy.\n# TYPE a_joules counter\n# UNIT a_joules joules\n\
                    a_joules_total{x=\"1\"} 2.5\n# TYPE b gauge\nb 3\n# TYPE c info\nc_info{y=\"z\"} 1\n\
                    # TYPE d histogram\nd_bucket{le=\"+Inf\"} 1\nd_count 1\nd_sum 2\n# EOF\n";
        let text = "# HELP a_joules_total Energy.\n# TYPE a_joules_total counter\n\
                    a_joules_total{x=\"1\"} 2.5\n# TYPE b gauge\nb 3\n# TYPE c_info gauge\nc_info{y=\"z\"} 1\n\
                    # TYPE d histogram\nd_bucket{le=\"+Inf\"} 1\nd_count 1\nd_sum 2\n";
        let page = Page::parse(open).expect("a page");
        assert_eq!(page.samples.len(), 6);
        assert_eq!(Page::parse_text(text), Ok(page));
        for (from, to, message) in [
            ("TYPE a_joules_total", "TYPE a_joules", "no type for"),
            ("TYPE b gauge", "TYPE b counter", "does not fit"),
            ("TYPE c_info gauge", "TYPE c info", "an unknown type"),
            ("HELP a_joules_total", "HELP a_joules", "no type for"),
            ("} 1\n# TYPE d", "} 2\n# TYPE d", "does not fit"),
            ("# TYPE b gauge", "# UNIT b b", "no such comment"),
            ("b 3\n", "b 3\nb 4\n", "there already"),
            ("d_sum 2\n", "d_sum 2\n# EOF\n", "no such comment"),
            ("TYPE c_info gauge", "TYPE a_joules_total counter", "declared before"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Page::parse_text(&text.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(message), "{to}: {error}");
        }
    }

    #[test]
    fn what_a_strict_reader_refuses_is_refused() {
        for (from, to, message) in [
            ("# EOF\n", "", "# EOF"),
            ("hw_id=\"b\"", "hw_id=\"a\"", "there already"),
            ("4.000000", "NaN", "no plain decimal"),
            ("4.000000", "-4.000000", "below 0"),
            ("4.000000", "4.0000000001", "no plain decimal"),
            (
                "hw_energy_joules_total{host=\"h\",hw_type=\"cpu\",hw_id=\"a\"",
                "hw_energy_joules{host=\"h\",hw_type=\"cpu\",hw_id=\"a\"",
                "does not fit",
            ),
            ("hw_host_energy_joules joules", "hw_host_energy_joules watts", "unit"),
            ("# TYPE jouleprint_job info", "# TYPE hw_energy_joules counter", "declared before"),
            ("# TYPE hw_energy_joules counter\n", "", "not of this family"),
            ("\\\"b\\\"", "\\x", "escape"),
            ("host=\"h\",hw_id=\"host\"", "host=\"h\",host=\"host\"", "twice"),
        ] {
            assert!(SOUND.contains(from), "{from}");
            let error = Page::parse(&SOUND.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(message), "{to}: {error}");
        }
    }
}
