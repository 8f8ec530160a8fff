//! The rules of budgets. Used and limit of each are series of their own, by which everything else is reckoned; sums
//! over days are of the recorded hours, whose samples make up for what was missed.

use super::budget::{Budget, Overhead, Period};
use super::promql::{matcher, number, quoted, range};
use std::fmt::Write;

/// Burn above which an alert of so many hours, and of a short range beside it, fires. An emission budget is meant to
/// be spent, at a burn of 1; what a machine can burn more is bounded by its power and the dirtiest hour, so that the
/// 14.4 of an error budget would never be seen.
const BURNS: [Burn; 3] = [
    Burn {
        alert: "JouleprintBudgetBurnsVeryFast",
        severity: "critical",
        timing: None,
        long: "6h",
        hours: 6,
        short: "30m",
        most: 6_000_000,
    },
    Burn {
        alert: "JouleprintBudgetBurnsFast",
        severity: "warning",
        timing: None,
        long: "1d",
        hours: 24,
        short: "2h",
        most: 2_000_000,
    },
    Burn {
        alert: "JouleprintBudgetDrifts",
        severity: "warning",
        // Six hours are a day or a night, and so above and below by turns.
        timing: Some("keep_firing_for: 1d"),
        long: "3d",
        hours: 72,
        short: "6h",
        most: 1_200_000,
    },
];

struct Burn {
    alert: &'static str,
    severity: &'static str,
    /// A line of the alert that says for how long, if it does.
    timing: Option<&'static str>,
    long: &'static str,
    hours: u64,
    short: &'static str,
    /// In ppm of the even pace.
    most: u64,
}

/// The share of its physical bound that a threshold may be at most: what can only just be reached never stays.
const REACHABLE_PPM: u128 = 800_000;

/// Where the alerts are explained.
const RUNBOOK: &str =
    "https://github.com/jouleprint/jouleprint/blob/main/docs/budgets.md#what-each-alert-means";

/// A rule file: a comment, then groups.
#[must_use]
pub fn file(budgets: &[Budget]) -> String {
    format!("{}groups:\n{}", head(budgets), groups(budgets, true))
}

/// The groups of some budgets, and the alerts, which are of all of them.
#[must_use]
pub fn groups(budgets: &[Budget], has_alerts: bool) -> String {
    let mut text = "- name: jouleprint-budget-hours\n  interval: 1h\n  rules:\n".to_owned();
    for budget in budgets {
        let expr = format!("sum(sum_over_time({}{}))", hours(budget, budget.overhead), range(1));
        record(&mut text, budget, "budget:jouleprint_emissions_co2e_grams:increase1h", &expr);
    }
    text.push_str("\n- name: jouleprint-budgets\n  interval: 4m\n  rules:\n");
    for budget in budgets {
        state(&mut text, budget);
    }
    if !has_alerts {
        return text;
    }
    text.push_str(
        "  - record: budget:jouleprint_emissions_remaining:ratio\n    \
         expr: 1 - budget:jouleprint_emissions_used_co2e_grams / budget:jouleprint_emissions_limit_co2e_grams\n",
    );
    // In the same group, and so of the same moment.
    alerts(&mut text);
    text
}

/// What the reader of the file should know.
#[must_use]
pub fn head(budgets: &[Budget]) -> String {
    let days = budgets.iter().map(|budget| match budget.period {
        Period::Rolling { days } => days,
        Period::Month => 31,
    });
    let days = days.max().unwrap_or(0) + 2;
    let rules = budgets.len() * 17 + 1;
    let steps = budgets.iter().filter(|budget| budget.period == Period::Month).count() * 31 * 24;
    let samples = days * 24;
    format!(
        "# Budgets of emissions, printed by `jouleprint rules --budgets`; change the file of budgets, not this.\n\
         # RETENTION: {days} days of `…:increase1h`: --storage.tsdb.retention.time={days}d or more, or evaluate them where\n\
         # the hours are kept. COST: about {rules} recorded series and as many queries in 4 minutes; six a budget\n\
         # read up to {samples} samples of every matched series of the hours, two the counters themselves over 2 h (one of\n\
         # them, and the hours of a day, where overhead is shared out){}.\n\
         # Days and months are those of UTC. An hour counts when it has been recorded: up to one hour late, two for a\n\
         # calendar month.\n",
        if steps == 0 { String::new() } else { format!("; months take {steps} steps more") }
    )
}

/// The recorded hours of what a budget is about, with the overhead or without.
fn hours(budget: &Budget, overhead: Overhead) -> String {
    let selection = &budget.selection;
    let is_by_host = selection.has("host") || selection.has("grid_zone");
    let name = match (selection.has("group"), is_by_host, overhead) {
        (true, true, _) => "node_group:jouleprint_group_emissions_co2e_grams:increase1h",
        (true, false, Overhead::None) => "group:jouleprint_group_emissions_co2e_grams:increase1h",
        (true, false, Overhead::Proportional) => {
            "group:jouleprint_group_emissions_with_overhead_co2e_grams:increase1h"
        }
        (false, true, _) => "node_zone:jouleprint_host_emissions_co2e_grams:increase1h",
        (false, false, _) => "cluster:jouleprint_host_emissions_co2e_grams:increase1h",
    };
    selected(name, budget)
}

fn selected(name: &str, budget: &Budget) -> String {
    let matchers = &budget.selection.matchers;
    let matchers: Vec<String> = matchers.iter().map(|(label, values)| matcher(label, values)).collect();
    if matchers.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", matchers.join(",")) }
}

/// Grams a second over less than the hours tell, from the counters themselves; where these are not, as in a store
/// for the long term, from the newest hours.
fn pace(budget: &Budget, short: &str, count: Option<u64>) -> String {
    let has_group = budget.selection.has("group");
    let counter = if has_group {
        "jouleprint_group_emissions_co2e_grams_total"
    } else {
        "jouleprint_host_emissions_co2e_grams_total"
    };
    let (all, plain) = (hours(budget, budget.overhead), hours(budget, Overhead::None));
    // One hour alone may just not be there yet.
    let own = format!(
        "(\n  sum(rate({}[{short}]))\n  or sum(sum_over_time({plain}{})) / 7200\n)",
        selected(counter, budget),
        range(2),
    );
    match (budget.overhead, count) {
        (Overhead::None, _) => own,
        // The counters do not have the overhead, and it does not go up and down with what a group uses.
        (Overhead::Proportional, Some(count)) => {
            format!("sum(sum_over_time({all}{})) / {}", range(count), count * 3600)
        }
        // Less than an hour: it is taken to be what it was over the last day.
        (Overhead::Proportional, None) => {
            let day = range(24);
            format!(
                "(\n  {own}\n  + (sum(sum_over_time({all}{day})) - sum(sum_over_time({plain}{day}))) / 86400\n)"
            )
        }
    }
}

/// How long the period is, in seconds.
fn seconds(period: Period) -> String {
    match period {
        Period::Rolling { days } => (days * 86_400).to_string(),
        Period::Month => "(86400 * scalar(days_in_month()))".to_owned(),
    }
}

/// Everything that is recorded of one budget every four minutes.
fn state(text: &mut String, budget: &Budget) {
    // All of them: when an owner changes, the series of the one before is seen for some minutes yet.
    let of_it = format!(
        "{{budget={},owner={},period=\"{}\"}}",
        quoted(&budget.name),
        quoted(&budget.owner),
        label(budget.period)
    );
    let limit = format!("budget:jouleprint_emissions_limit_co2e_grams{of_it}");
    let used = format!("budget:jouleprint_emissions_used_co2e_grams{of_it}");
    let start = format!("budget:jouleprint_emissions_period_start_timestamp_seconds{of_it}");
    let burn = |range: &str| format!("budget:jouleprint_emissions_burn:ratio_rate{range}{of_it}");
    let (period, hours) = (seconds(budget.period), hours(budget, budget.overhead));

    let grams = number(budget.milligrams, 3);
    record(text, budget, "budget:jouleprint_emissions_limit_co2e_grams", &format!("vector({grams})"));
    for (name, share) in [("soft", budget.soft), ("hard", budget.hard)] {
        let name = format!("budget:jouleprint_emissions_{name}:ratio");
        record(text, budget, &name, &format!("vector({})", number(share, 6)));
    }
    thresholds(text, budget);
    let (first, sum) = match budget.period {
        Period::Rolling { days } => {
            (format!("vector(time() - {period})"), format!("sum(sum_over_time({hours}{}))", range(days * 24)))
        }
        // A range cannot begin with a month. Hour by hour of the last 31 days, those after its beginning are added.
        Period::Month => (
            "vector(time() - time() % 86400) - 86400 * (day_of_month() - 1)".to_owned(),
            format!(
                "sum_over_time(\n  (\n    sum(sum_over_time({hours}{}))\n    and on () \
                 (vector(time()) > scalar({start} @ end()))\n  )[31d:1h]\n)\n\
                 or 0 * sum(sum_over_time({hours}{}))",
                range(1),
                range(24),
            ),
        ),
    };
    record(text, budget, "budget:jouleprint_emissions_period_start_timestamp_seconds", &first);
    record(text, budget, "budget:jouleprint_emissions_used_co2e_grams", &sum);
    for (short, count) in [("30m", None), ("2h", Some(2))] {
        let expr = format!("{}\n* {period} / {grams}", pace(budget, short, count));
        record(text, budget, &format!("budget:jouleprint_emissions_burn:ratio_rate{short}"), &expr);
    }
    for (name, count) in [("6h", 6), ("1d", 24), ("3d", 72)] {
        let expr =
            format!("sum(sum_over_time({hours}{}))\n* {period} / {} / {grams}", range(count), count * 3600);
        record(text, budget, &format!("budget:jouleprint_emissions_burn:ratio_rate{name}"), &expr);
    }
    // At the pace of the last three days, or of the last one of a period that is shorter.
    let pace = burn(if is_short(budget.period) { "1d" } else { "3d" });
    let (projected, exhausted) = match budget.period {
        Period::Rolling { days } => (
            format!("{pace} * {limit}"),
            // What is over in three days has no oldest three days that make room.
            days.checked_sub(3).filter(|before| *before > 0).map(|before| {
                let leaving = leaving(&hours, before);
                format!(
                    "time() + ({limit} - {used} > 0)\n/ ({pace} * {limit} / {period} - {leaving} > 0)\n\
                     < time() + {period}"
                )
            }),
        ),
        Period::Month => (
            format!("{used}\n+ {pace} * {limit} * ({start} + {period} - time()) / {period}"),
            Some(format!(
                "time() + ({limit} - {used} > 0)\n/ ({pace} * {limit} / {period} > 0)\n< {start} + {period}"
            )),
        ),
    };
    record(text, budget, "budget:jouleprint_emissions_projected_co2e_grams", &projected);
    if let Some(exhausted) = exhausted {
        record(text, budget, "budget:jouleprint_emissions_exhausted_timestamp_seconds", &exhausted);
    }
}

/// Grams a second that fall out of a rolling period at its far end, and make room: of its three oldest days, in
/// which there may have been nothing yet.
fn leaving(hours: &str, before: u64) -> String {
    format!("scalar(sum(sum_over_time({hours}{} offset {before}d)) or vector(0)) / 259200", range(72))
}

/// Whether it is over before three days tell anything of it.
fn is_short(period: Period) -> bool {
    shortest_days(period) < 3
}

/// At which burn each alert fires for this budget: as for any, or what it can reach; none where the next says it too.
fn thresholds(text: &mut String, budget: &Budget) {
    let cap = cap(budget);
    let reachable = cap.and_then(|cap| u64::try_from(cap * REACHABLE_PPM / 1_000_000).ok());
    for (at, Burn { alert, long, hours, most, .. }) in BURNS.iter().enumerate() {
        let threshold = reachable.map_or(*most, |reachable| reachable.min(*most));
        let least = BURNS.get(at + 1).map_or(1_000_000, |next| next.most);
        let cap = number(cap.and_then(|cap| u64::try_from(cap / 10_000).ok()).unwrap_or(0), 2);
        if threshold <= least {
            let _ = writeln!(text, "  # No {alert}: at its peak this burns {cap} times the even pace.");
            continue;
        }
        // A short period is over, or spent, before a long range can tell.
        let in_range = u128::from(threshold) * u128::from(*hours);
        if in_range >= u128::from(budget.hard) * u128::from(shortest_days(budget.period) * 24) {
            let _ = writeln!(text, "  # No {alert}: {long} at such a pace would have spent it all.");
            continue;
        }
        if threshold < *most {
            let _ = writeln!(
                text,
                "  # Not {}: at its peak this burns {cap} times the even pace.",
                number(*most, 6)
            );
        }
        let name = format!("budget:jouleprint_emissions_burn_limit:ratio_rate{long}");
        record(text, budget, &name, &format!("vector({})", number(threshold / 1_000, 3)));
    }
}

/// One alert for all budgets: what differs among them is recorded.
fn alerts(text: &mut String) {
    let share = "budget:jouleprint_emissions_used_co2e_grams / budget:jouleprint_emissions_limit_co2e_grams";
    let (soft, hard) = ("budget:jouleprint_emissions_soft:ratio", "budget:jouleprint_emissions_hard:ratio");
    let what = "{{ $labels.budget }} of {{ $labels.owner }}";
    let has_used = format!(
        "{what} has used {{{{ $value | humanizePercentage }}}} of its grams ({{{{ $labels.period }}}})."
    );
    alert(
        text,
        ("JouleprintBudgetExhausted", "critical", Some("keep_firing_for: 1d")),
        &format!("{share} >= {hard}"),
        ("An emission budget is spent.", &has_used),
    );
    alert(
        text,
        ("JouleprintBudgetNearlySpent", "warning", None),
        // What rolls on at an even pace is always that full. Of a few days the last hours tell whether they fill up.
        &format!(
            "{share} >= {soft} < {hard}\nand (\n  \
             budget:jouleprint_emissions_burn:ratio_rate3d{{period!~\"[123]d\"}} > 1\n  \
             or budget:jouleprint_emissions_burn:ratio_rate6h{{period=~\"[123]d\"}} > 1\n  \
             or budget:jouleprint_emissions_limit_co2e_grams{{period=\"month\"}}\n)"
        ),
        ("An emission budget is nearly spent.", &has_used),
    );
    let sees_nothing = format!(
        "Nothing of what {what} matches has been recorded for three days or ever ({{{{ $labels.period }}}}): is a name \
         misspelt, or has it another one now?"
    );
    alert(
        text,
        ("JouleprintBudgetSeesNothing", "warning", Some("for: 24h")),
        // A whole period would be a month late for a team that was renamed.
        "budget:jouleprint_emissions_limit_co2e_grams unless budget:jouleprint_emissions_burn:ratio_rate3d",
        ("An emission budget sees nothing.", &sees_nothing),
    );
    let ends = format!(
        "At the pace of the last days {what} ends with {{{{ $value | humanizePercentage }}}} of its grams \
         ({{{{ $labels.period }}}})."
    );
    alert(
        text,
        ("JouleprintBudgetWillBeExceeded", "warning", Some("for: 6h")),
        &format!(
            "budget:jouleprint_emissions_projected_co2e_grams / budget:jouleprint_emissions_limit_co2e_grams > {hard}"
        ),
        ("An emission budget will not last.", &ends),
    );
    for Burn { alert: name, severity, timing, long, short, .. } in &BURNS {
        let rate = |range: &str| format!("budget:jouleprint_emissions_burn:ratio_rate{range}");
        let limit = format!("budget:jouleprint_emissions_burn_limit:ratio_rate{long}");
        let emits = format!(
            "Over {long} {what} emitted {{{{ $value | printf \"%.1f\" }}}} times the pace at which it lasts, and over \
             {short} still too much."
        );
        alert(
            text,
            (name, severity, *timing),
            &format!("{} > {limit} and {} > {limit}", rate(long), rate(short)),
            ("An emission budget burns faster than it lasts.", &emits),
        );
    }
}

/// The most that this budget can burn, in ppm of the even pace. A month is taken for the shortest.
fn cap(budget: &Budget) -> Option<u128> {
    let peak = u128::from(budget.peak?) * u128::from(shortest_days(budget.period) * 24);
    Some(peak * 1_000_000 / u128::from(budget.milligrams))
}

/// How many days a period has at the least.
fn shortest_days(period: Period) -> u64 {
    match period {
        Period::Rolling { days } => days,
        Period::Month => 28,
    }
}

/// The `period` label.
fn label(period: Period) -> String {
    match period {
        Period::Rolling { days } => format!("{days}d"),
        Period::Month => "month".to_owned(),
    }
}

fn record(text: &mut String, budget: &Budget, name: &str, expr: &str) {
    let period = label(budget.period);
    let _ = writeln!(text, "  - record: {name}");
    expression(text, expr);
    let _ = writeln!(
        text,
        "    labels: {{budget: {}, owner: {}, period: \"{period}\"}}",
        quoted(&budget.name),
        quoted(&budget.owner)
    );
}

fn alert(
    text: &mut String,
    (name, severity, timing): (&str, &str, Option<&str>),
    expr: &str,
    (summary, description): (&str, &str),
) {
    let _ = writeln!(text, "  - alert: {name}");
    expression(text, expr);
    if let Some(timing) = timing {
        let _ = writeln!(text, "    {timing}");
    }
    let _ = writeln!(
        text,
        "    labels: {{severity: {severity}}}\n    annotations:\n      summary: {summary}\n      \
         description: {}\n      runbook_url: {RUNBOOK}",
        quoted(description)
    );
}

/// A block, so that quotes and braces in it mean nothing to YAML.
fn expression(text: &mut String, expr: &str) {
    text.push_str("    expr: |-\n");
    for line in expr.lines() {
        let _ = writeln!(text, "      {line}");
    }
}
