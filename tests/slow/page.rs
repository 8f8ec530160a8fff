//! A reader of the page, apart from the code that writes it: text to samples, samples to integers,
//! and the identities that must hold on every page.

use std::collections::BTreeMap;

/// Labels of a sample, by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// The samples of a page by name, with the values as they are written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Page {
    samples: BTreeMap<String, Vec<(Labels, String)>>,
}

/// Decimals of joules on the page: µJ.
pub(crate) const JOULES: usize = 6;
/// Decimals of grams and CPU seconds on the page: ng and ns.
pub(crate) const NANO: usize = 9;

/// One identity: the whole, its parts, the labels that must agree, the decimals.
struct Identity {
    whole: &'static str,
    parts: [&'static str; 3],
    by: &'static [&'static str],
    decimals: usize,
}

const IDENTITIES: [Identity; 2] = [
    Identity {
        whole: "hw_energy_joules_total",
        parts: [
            "jouleprint_job_energy_joules_total",
            "jouleprint_residual_energy_joules_total",
            "jouleprint_retired_energy_joules",
        ],
        by: &["host", "hw_type", "gpu", "origin"],
        decimals: JOULES,
    },
    Identity {
        whole: "jouleprint_host_emissions_co2e_grams_total",
        parts: [
            "jouleprint_job_emissions_co2e_grams_total",
            "jouleprint_residual_emissions_co2e_grams_total",
            "jouleprint_retired_emissions_co2e_grams",
        ],
        by: &["host", "origin", "grid_zone"],
        decimals: NANO,
    },
];

impl Page {
    /// Reads either text format; panics with the line that is neither a comment nor a sample.
    pub(crate) fn parse(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
            page.samples.entry(name).or_default().push((labels, value));
        }
        page
    }

    /// All samples of a name.
    pub(crate) fn of(&self, name: &str) -> &[(Labels, String)] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of the samples that have all these labels, as an integer of the last decimal.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)], decimals: usize) -> u64 {
        let has = |sample: &Labels| {
            labels.iter().all(|(label, value)| sample.get(*label).is_some_and(|found| found == value))
        };
        let chosen = self.of(name).iter().filter(|(sample, _)| has(sample));
        chosen.map(|(_, value)| integer(value, decimals)).sum()
    }

    /// The same as a float, in the series' own unit.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)], decimals: usize) -> f64 {
        let exponent = i32::try_from(decimals).expect("a handful");
        self.sum(name, labels, decimals) as f64 / 10_f64.powi(exponent)
    }

    /// When everything on this page was read, in ms.
    pub(crate) fn timestamp_milliseconds(&self) -> u64 {
        self.sum("jouleprint_snapshot_timestamp_seconds", &[], 3)
    }

    /// The first identity that does not hold, in words.
    pub(crate) fn broken_identity(&self) -> Option<String> {
        for identity in &IDENTITIES {
            let key = |labels: &Labels| -> Vec<String> {
                let value = |label: &&str| labels.get(*label).cloned().unwrap_or_default();
                identity.by.iter().map(value).collect()
            };
            let mut difference: BTreeMap<Vec<String>, i128> = BTreeMap::new();
            let mut add = |name: &str, sign: i128| {
                for (labels, value) in self.of(name) {
                    *difference.entry(key(labels)).or_default() +=
                        sign * i128::from(integer(value, identity.decimals));
                }
            };
            add(identity.whole, 1);
            identity.parts.iter().for_each(|part| add(part, -1));
            // Nothing is emitted before the first joule.
            let is_needed = identity.decimals == JOULES || self.sum(IDENTITIES[0].whole, &[], JOULES) > 0;
            if difference.is_empty() && is_needed {
                return Some(format!("{} is not on the page", identity.whole));
            }
            if let Some((key, off)) = difference.iter().find(|(_, off)| **off != 0) {
                return Some(format!(
                    "{} {key:?}: whole − parts = {off}e-{}",
                    identity.whole, identity.decimals
                ));
            }
        }
        None
    }

    /// The first counter that is lower here than on an earlier page, or has vanished from it without
    /// being a job's.
    pub(crate) fn fallen_since(&self, earlier: &Page) -> Option<String> {
        let counters = earlier.samples.iter().filter(|(name, _)| name.ends_with("_total"));
        for (name, before) in counters {
            let now: BTreeMap<&Labels, &String> =
                self.of(name).iter().map(|(labels, value)| (labels, value)).collect();
            for (labels, before) in before {
                let Some(now) = now.get(labels) else {
                    if name.starts_with("jouleprint_job_") {
                        continue;
                    }
                    return Some(format!("{name}{labels:?} is gone"));
                };
                if number(now) < number(before) {
                    return Some(format!("{name}{labels:?} fell from {before} to {now}"));
                }
            }
        }
        None
    }
}

/// A decimal as an integer of its last place; the page must write exactly so many places.
fn integer(text: &str, decimals: usize) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert_eq!(fraction.len(), decimals, "{text} should have {decimals} decimals");
    format!("{whole}{fraction}").parse().unwrap_or_else(|_| panic!("{text:?} is no decimal"))
}

/// A decimal in units of 1e-9.
fn number(text: &str) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap_or_else(|_| panic!("{text:?} is no decimal"))
}

fn sample(line: &str) -> Option<(String, Labels, String)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next()?.1 {
                        'n' => '\n',
                        other => other,
                    }),
                    (_, other) => value.push(other),
                }
            };
            labels.insert(label.to_owned(), value);
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?;
    Some((name.to_owned(), labels, value.to_owned()))
}

#[test]
fn the_checker_sees_a_missing_microjoule_and_a_missing_nanogram() {
    let page = |joules: &str, grams: &str| {
        let labels = "host=\"h\",hw_type=\"cpu\",gpu=\"\",origin=\"measured\"";
        Page::parse(&format!(
            "# HELP x y\n\
             hw_energy_joules_total{{{labels},hw_id=\"a,\\\"b\"}} {joules}\n\
             jouleprint_job_energy_joules_total{{{labels},job_id=\"x\"}} 1.000001\n\
             jouleprint_residual_energy_joules_total{{{labels},account=\"idle\"}} 2.000000\n\
             jouleprint_retired_energy_joules{{{labels}}} 0.500000\n\
             jouleprint_host_emissions_co2e_grams_total{{host=\"h\",origin=\"measured\",grid_zone=\"FR\"}} {grams}\n\
             jouleprint_job_emissions_co2e_grams_total{{{labels},grid_zone=\"FR\"}} 0.000000007\n"
        ))
    };
    assert_eq!(page("3.500001", "0.000000007").broken_identity(), None);
    assert!(page("3.500002", "0.000000007").broken_identity().is_some_and(|what| what.contains("hw_energy")));
    assert!(page("3.500001", "0.000000008").broken_identity().is_some_and(|what| what.contains("emissions")));
    assert!(page("3.500001", "0.000000007").fallen_since(&page("3.500002", "0.000000007")).is_some());
    assert!(page("3.500002", "0.000000007").fallen_since(&page("3.500001", "0.000000007")).is_none());
}
