//! The dashboards in grafana/: Grafana's own linter's rules as far as they apply to them, and that every
//! query says something: that its metrics and labels exist in the catalogue or in the recording rules.

mod board;
pub(crate) mod known;
mod query;

use board::{Board, Panel, boards, equivalents};
use known::Known;
use promql_parser::parser::Expr;
use query::{Check, children, parsed};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The dashboards, by the last part of their uid.
const NAMES: [&str; 7] = ["overview", "cluster", "node", "jobs", "gpu", "grid", "health"];

/// Units of Grafana that are used here; a misspelt one is shown as plain text behind the number.
const UNITS: [&str; 11] = [
    "bytes",
    "dateTimeAsIso",
    "joule",
    "locale",
    "massg",
    "none",
    "percentunit",
    "s",
    "short",
    "watt",
    "watth",
];

/// Panels that @grafana/ui draws, so that pictures of all of them can be looked at.
const KINDS: [&str; 4] = ["bargauge", "stat", "table", "timeseries"];

/// Variables of which all are those listed: they tell the exporters' `up` and `process_*` from the series of the
/// same names that every other program has.
const LISTED: [&str; 1] = ["job"];

/// Lines of Grafana's grid.
const COLUMNS: u64 = 24;

/// What is wrong, each with its place: all of it is told at once.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, is_right: bool, place: &str, fault: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(format!("{place}: {}", fault()));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} faults:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[test]
fn every_dashboard_is_one_that_grafana_provisions() {
    let mut faults = Faults::default();
    let boards = boards();
    assert_eq!(boards.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(NAMES));
    for (name, board) in &boards {
        let json = &board.json;
        faults.unless(json["id"].is_null(), name, || "id is the server's to give".into());
        faults.unless(json["uid"] == format!("jouleprint-{name}"), name, || format!("uid {}", json["uid"]));
        faults.unless(json["editable"] == false, name, || "what is provisioned is not edited".into());
        faults.unless(json.get("__inputs").is_none(), name, || "nobody fills __inputs of a file".into());
        let version = json["schemaVersion"].as_u64().unwrap_or(0);
        faults.unless((39..=42).contains(&version), name, || format!("schemaVersion {version}"));
        let is_tagged = json["tags"].as_array().is_some_and(|tags| tags.contains(&"jouleprint".into()));
        faults.unless(is_tagged, name, || "no tag".into());
        for key in ["title", "description"] {
            let is_told = json[key].as_str().is_some_and(|text| text.len() > 10);
            faults.unless(is_told, name, || format!("no {key}"));
        }
        // A colour by its number is right on one of the two backgrounds at best.
        let text = json.to_string();
        let is_fixed =
            ["\"#", "rgb(", "rgba(", "\"dark\"", "\"light\""].iter().any(|mark| text.contains(mark));
        faults.unless(!is_fixed, name, || "a colour that knows only one theme".into());
    }
    faults.none();
}

#[test]
fn every_panel_has_its_place_its_unit_and_a_sentence() {
    let mut faults = Faults::default();
    for (name, board) in &boards() {
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        let mut taken: BTreeMap<(u64, u64), &str> = BTreeMap::new();
        for panel in &board.all {
            let place = format!("{name} / {}", panel.title());
            faults.unless(ids.insert(panel.json["id"].as_u64()), &place, || "its id is another's".into());
            let [x, y, width, height] = panel.place();
            faults.unless(width > 0 && height > 0 && x + width <= COLUMNS, &place, || {
                "outside the grid".into()
            });
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, panel.title()) {
                    faults.0.push(format!("{place}: on top of {other}"));
                    break;
                }
            }
        }
        for panel in &board.panels {
            let place = format!("{name} / {}", panel.title());
            faults.unless(panel.title().len() > 2, &place, || "no title".into());
            faults.unless(titles.insert(panel.title()), &place, || "a title that another panel has".into());
            let told = panel.json["description"].as_str().unwrap_or_default();
            faults.unless(told.len() > 25 && told.ends_with('.'), &place, || format!("description {told:?}"));
            faults.unless(KINDS.contains(&panel.kind()), &place, || {
                format!("cannot be drawn: {}", panel.kind())
            });
            for unit in panel.units() {
                faults.unless(UNITS.contains(&unit.as_str()), &place, || format!("unit {unit:?}"));
            }
            faults.unless(!panel.units().is_empty(), &place, || "no unit".into());
            faults.unless(!panel.targets.is_empty(), &place, || "no query".into());
            for source in panel.sources() {
                let is_chosen = source["type"] == "prometheus" && source["uid"] == "${datasource}";
                faults.unless(is_chosen, &place, || format!("data source {source}"));
            }
            let references: BTreeSet<_> = panel.targets.iter().map(|target| &target.reference).collect();
            faults
                .unless(references.len() == panel.targets.len(), &place, || "two queries of one name".into());
            for target in &panel.targets {
                let is_table = panel.kind() == "table";
                faults
                    .unless(target.is_table == is_table, &place, || format!("{}: format", target.reference));
                faults.unless(!is_table || target.is_instant, &place, || "a table of a whole range".into());
            }
        }
    }
    faults.none();
}

#[test]
fn every_variable_is_asked_for_as_grafana_does_and_is_used() {
    let mut faults = Faults::default();
    let known = Known::load();
    for (name, board) in &boards() {
        let (first, others) = board.variables.split_first().expect("variables");
        let is_source = first.json["type"] == "datasource" && first.json["query"] == "prometheus";
        faults.unless(is_source && first.name == "datasource", name, || "the data source comes first".into());
        faults.unless(first.json["label"] == "Data source", name, || "the data source's label".into());
        faults.unless(board.variable("cluster").is_some(), name, || "no variable cluster".into());
        let text = board.text();
        for variable in others {
            let place = format!("{name} / ${}", variable.name);
            let is_used = [
                format!("${}\"", variable.name),
                format!("${} ", variable.name),
                format!("${{{}", variable.name),
                format!("${})", variable.name),
            ];
            faults
                .unless(is_used.iter().any(|use_| text.contains(use_)), &place, || "is used nowhere".into());
            faults.unless(
                variable.json["label"].as_str().is_some_and(|label| !label.is_empty()),
                &place,
                || "no label".into(),
            );
            if variable.json["type"] == "custom" {
                let options = variable.json["options"].as_array().map_or(0, Vec::len);
                faults.unless(options > 1, &place, || "nothing to choose from".into());
                continue;
            }
            faults.unless(variable.json["type"] == "query", &place, || {
                format!("type {}", variable.json["type"])
            });
            faults.unless(variable.json["refresh"] == 2, &place, || "must follow the time".into());
            faults.unless(variable.json["datasource"]["uid"] == "${datasource}", &place, || {
                "data source".into()
            });
            let definition = variable.json["definition"].as_str().unwrap_or_default();
            faults.unless(variable.json["query"]["query"] == definition, &place, || {
                "query and definition differ".into()
            });
            if LISTED.contains(&variable.name.as_str()) {
                faults.unless(variable.json.get("allValue").is_none(), &place, || {
                    "all is what is listed".into()
                });
            } else if variable.json["includeAll"] == true {
                // So that a label that nobody sets matches too.
                faults.unless(variable.json["allValue"] == ".*", &place, || "all is .*".into());
            }
            let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let Some((selector, label)) = inner.and_then(|inner| inner.rsplit_once(", ")) else {
                faults.0.push(format!("{place}: {definition:?} is no label_values(…)"));
                continue;
            };
            for (selector, label) in board.resolved(selector).into_iter().zip(board.resolved(label)) {
                let mut check = Check::new(&known);
                let labels =
                    check.labels(&parsed(&selector).unwrap_or_else(|error| panic!("{place}: {error}")));
                faults.0.extend(check.faults.iter().map(|fault| format!("{place}: {fault}")));
                faults.unless(labels.contains(&label), &place, || format!("{selector} has no label {label}"));
            }
        }
    }
    faults.none();
}

#[test]
fn every_metric_and_every_label_in_a_query_exists() {
    let mut faults = Faults::default();
    let known = Known::load();
    let mut count = 0;
    for_each_query(|place, panel, target, text| {
        let expr = match parsed(text) {
            Ok(expr) => expr,
            Err(error) => return faults.0.push(format!("{place}: {error}: {text}")),
        };
        let mut check = Check::new(&known);
        let labels = check.labels(&expr);
        faults.0.extend(check.faults.iter().map(|fault| format!("{place}: {fault}")));
        for label in target.legend_labels() {
            faults.unless(labels.contains(&label), place, || {
                format!("the legend's {label} is not in {labels:?}")
            });
        }
        if panel.kind() == "table" {
            let columns = panel.columns();
            for label in &labels {
                faults.unless(columns.contains(label), place, || {
                    format!("{label} is neither shown nor hidden")
                });
            }
        }
        count += 1;
    });
    assert!(count > 150, "{count} queries were looked at");
    faults.none();
}

#[test]
fn every_column_of_a_table_has_something_to_show() {
    let mut faults = Faults::default();
    let known = Known::load();
    for (name, board) in &boards() {
        for panel in board.panels.iter().filter(|panel| panel.kind() == "table") {
            let place = format!("{name} / {}", panel.title());
            let mut have: BTreeSet<String> = BTreeSet::from(["Time".to_owned()]);
            for target in &panel.targets {
                have.insert(if panel.targets.len() > 1 {
                    format!("Value #{}", target.reference)
                } else {
                    "Value".into()
                });
                for text in board.resolved(&target.expr) {
                    have.extend(Check::new(&known).labels(&parsed(&text).expect("it was parsed before")));
                }
            }
            for column in panel.columns() {
                faults.unless(have.contains(&column), &place, || format!("no query gives {column}"));
            }
            let shown = panel.shown_columns();
            for look in panel.json["fieldConfig"]["overrides"].as_array().into_iter().flatten() {
                let column = look["matcher"]["options"].as_str().unwrap_or_default();
                faults.unless(shown.contains(column), &place, || {
                    format!("a look for {column}, which is not there")
                });
            }
        }
    }
    faults.none();
}

#[test]
fn every_query_is_one_that_can_be_trusted() {
    let mut faults = Faults::default();
    for_each_query(|place, panel, target, text| {
        let expr = parsed(text).expect("it was parsed before");
        let mut seen = Vec::new();
        query::habits(&expr, None, &mut seen);
        faults.0.extend(seen.into_iter().map(|fault| format!("{place}: {fault}")));
        // A range that does not follow the scrape interval has gaps, or is too coarse.
        for (function, range) in query::ranges(&target.expr) {
            let is_right = match function {
                "rate" => range == "$__rate_interval",
                "increase" => false,
                "sum_over_time" => range == "$__range" || range == "$__interval",
                _ => range.starts_with("$__range"),
            };
            faults.unless(is_right, place, || format!("{function} over [{range}]"));
            // A rate is the mean of a step, and a month has steps of an hour: that is not now.
            let is_figure = ["stat", "table", "bargauge"].contains(&panel.kind());
            let is_recent = !panel.json["timeFrom"].is_null();
            faults.unless(range != "$__rate_interval" || !is_figure || is_recent, place, || {
                "a figure by a rate of the whole range's steps".into()
            });
            faults.unless(!is_recent || !range.starts_with("$__range"), place, || {
                "the chosen time in a panel that has its own".into()
            });
        }
        if target.expr.contains("$__interval") {
            let is_daily = panel.json["interval"] == "1d";
            faults.unless(is_daily, place, || "sums by the step are of days".into());
        }
    });
    faults.none();
}

#[test]
fn every_query_asks_for_the_chosen_clusters_alone() {
    let mut faults = Faults::default();
    for_each_query(|place, _, _, text| {
        let expr = parsed(text).expect("it was parsed before");
        let mut stack = vec![&expr];
        while let Some(expr) = stack.pop() {
            if let Expr::VectorSelector(selector)
            | Expr::MatrixSelector(promql_parser::parser::MatrixSelector { vs: selector, .. }) = expr
            {
                let name = selector.name.as_deref().unwrap_or_default();
                let is_chosen = selector.matchers.matchers.iter().any(|matcher| matcher.name == "cluster");
                // A budget may be of a part of a cluster, or of several.
                faults.unless(is_chosen || name.starts_with("budget:"), place, || {
                    format!("{name} of all clusters")
                });
            }
            stack.extend(children(expr));
        }
    });
    faults.none();
}

#[test]
fn every_link_leads_somewhere_and_takes_the_time_along() {
    let mut faults = Faults::default();
    let boards = boards();
    for (name, board) in &boards {
        let links = board.json["links"].as_array().expect("links");
        let others: BTreeSet<String> = NAMES
            .iter()
            .filter(|other| *other != name)
            .map(|other| format!("/d/jouleprint-{other}"))
            .collect();
        let to: BTreeSet<String> =
            links.iter().filter_map(|link| link["url"].as_str().map(str::to_owned)).collect();
        faults.unless(to == others, name, || format!("links to {to:?}"));
        let keeps = |link: &Value| link["keepTime"] == true && link["includeVars"] == true;
        faults.unless(links.iter().all(keeps), name, || "a link forgets the time or the variables".into());
        for panel in &board.panels {
            let place = format!("{name} / {}", panel.title());
            for link in panel.links() {
                let address = link["url"].as_str().unwrap_or_default();
                let Some((path, query)) = address.split_once('?') else {
                    faults.0.push(format!("{place}: {address} takes nothing along"));
                    continue;
                };
                let target = path.strip_prefix("/d/jouleprint-").and_then(|uid| boards.get(uid));
                let Some(target) = target else {
                    faults.0.push(format!("{place}: {path} is no dashboard"));
                    continue;
                };
                let carries =
                    query.contains("${__url_time_range}") && query.contains("${datasource:queryparam}");
                faults.unless(carries, &place, || format!("{address} forgets the time or the data source"));
                for variable in query.split('&').filter_map(|part| part.strip_prefix("var-")) {
                    let (variable, value) = variable.split_once('=').expect("a value");
                    faults.unless(target.variable(variable).is_some(), &place, || {
                        format!("{path} has no ${variable}")
                    });
                    faults.unless(panel.can_give(board, value), &place, || format!("{value} of {address}"));
                }
            }
        }
    }
    faults.none();
}

#[test]
fn equivalents_have_the_factors_of_the_table() {
    let board = &boards()["overview"];
    let panel = board.panels.iter().find(|panel| panel.title() == "The chosen time is as much as");
    let panel = panel.expect("the panel of equivalents");
    let table = equivalents();
    assert!(panel.targets.len() > 3);
    for target in &panel.targets {
        let row = table.iter().find(|row| row.many == target.legend);
        let row = row.unwrap_or_else(|| panic!("{:?} is not in data/equivalents.csv", target.legend));
        let (rule, unit) = match row.kind.as_str() {
            "emissions" => ("cluster:jouleprint_host_emissions_co2e_grams:increase1h", "1000"),
            "energy" => ("cluster:hw_host_energy_joules:increase1h", "3600000"),
            other => panic!("a kind of equivalents that the dashboards do not know: {other}"),
        };
        assert!(target.expr.contains(rule), "{}: {}", row.many, target.expr);
        let end = format!(" / {unit} / {}", row.per_unit);
        assert!(target.expr.ends_with(&end), "{}: {} does not end in {end}", row.many, target.expr);
    }
}

#[test]
fn what_is_wrong_with_a_query_is_found() {
    let known = Known::load();
    let cases = [
        ("sum(jouleprint_jobz)", "no such series"),
        ("sum by (hots) (jouleprint_jobs)", "no label hots"),
        ("jouleprint_jobs{hots=\"a\"}", "no label hots"),
        ("sum(hw_power_watts)", "another program's"),
        ("jouleprint_jobs * on (host, gpu) jouleprint_pue_ratio", "no label gpu"),
        ("jouleprint_jobs * on (host) group_left (version) jouleprint_pue_ratio", "no label version"),
        ("sum by (host) (jouleprint_jobs) + jouleprint_pue_ratio", "never match"),
        ("label_replace(jouleprint_jobs, \"a\", \"$1\", \"gpu\", \"(.*)\")", "no label gpu"),
        ("label_join(jouleprint_jobs, \"a\", \"/\", \"host\", \"gpu\")", "no label gpu"),
        ("sum(jouleprint_jobs) / sum(jouleprint_pue_ratio)", "may be 0"),
        ("sum(jouleprint_jobs) / (sum(jouleprint_pue_ratio) > bool 0)", "may be 0"),
        ("sum(jouleprint_jobs) / -1", "may be 0"),
        ("jouleprint_jobs_overflow_total", "as it is"),
        ("rate(jouleprint_jobs[5m])", "no counter"),
        ("cluster:hw_host_energy_joules:increase1h", "added up"),
        ("avg_over_time(cluster:hw_host_energy_joules:increase1h[1d])", "added up"),
        ("sum_over_time(cluster:hw_host_energy_joules:rate5m[1d])", "not of hours"),
        ("max_over_time(jouleprint_group_energy_joules_total[1d])", "as it is"),
        (
            "histogram_quantile(0.5, sum by (le) (rate(jouleprint_tick_duration_seconds_bucket[5m])))",
            "a quantile of no observations",
        ),
        ("histogram_quantile(0.5, rate(jouleprint_ticks_skipped_total[5m]))", "no label le"),
    ];
    for (text, fault) in cases {
        let expr = parsed(text).expect("a query");
        let mut check = Check::new(&known);
        check.labels(&expr);
        query::habits(&expr, None, &mut check.faults);
        assert!(check.faults.iter().any(|found| found.contains(fault)), "{text}: {:?}", check.faults);
    }
    let ranges = query::ranges("sum(rate(a{b=\"c\"}[$x])) - max_over_time((a + b)[$y:5m])");
    assert_eq!(ranges, [("rate", "$x"), ("max_over_time", "$y:5m")]);
}

/// All queries, with the variables replaced; several where a variable stands for a label's name.
fn for_each_query(mut look: impl FnMut(&str, &Panel, &board::Target, &str)) {
    let boards: BTreeMap<String, Board> = boards();
    for (name, board) in &boards {
        for panel in &board.panels {
            for target in &panel.targets {
                let place = format!("{name} / {} / {}", panel.title(), target.reference);
                for text in board.resolved(&target.expr) {
                    look(&place, panel, target, &text);
                }
            }
        }
    }
}
