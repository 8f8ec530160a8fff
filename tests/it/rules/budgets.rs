//! Budgets: what a file may say, and that no name breaks out of the rules that are printed.

use super::labels::Known;
use super::{Rule, check_rules, complete, read, text};
use jouleprint::command::rules::budget::{Budget, Overhead, Period, parse};
use jouleprint::command::rules::{RulesFormat, text as printed};
use promql_parser::parser::{self, Expr};
use promql_parser::util::{ExprVisitor, walk_expr};

const EXAMPLE: &str = "deploy/prometheus/budgets.yaml";
const PRINTED: &str = "deploy/prometheus/budget-rules.yaml";

fn budget(lines: &str) -> Result<Vec<Budget>, String> {
    parse(&format!("budgets:\n- name: b\n  owner: o\n{lines}\n"))
}

#[test]
fn the_example_is_printed_as_it_is_shipped() {
    let budgets = parse(&text(EXAMPLE)).expect("valid");
    let rules = printed(&budgets, RulesFormat::Prometheus, true);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(super::root().join(PRINTED), &rules).expect("written");
    }
    assert_eq!(text(PRINTED), rules, "run: UPDATE=1 cargo test --test it rules");
    let all = printed(&budgets, RulesFormat::Prometheus, false);
    let mut known = Known::catalogue();
    let all = read(&all);
    check_rules(&mut known, &all);
    let alerts: Vec<&Rule> = all.iter().filter(|rule| rule.alert.starts_with("JouleprintBudget")).collect();
    assert_eq!(alerts.len(), 7, "the alerts are there");
    alerts.into_iter().for_each(complete);
    // Without budgets: what is shipped, and nothing else.
    let shipped = read(&printed(&[], RulesFormat::Prometheus, false));
    assert!(shipped.len() > 60 && shipped.iter().all(|rule| !rule.record.starts_with("budget:")));
}

#[test]
fn the_operator_gets_the_same_rules() {
    #[derive(serde::Deserialize)]
    struct Resource {
        #[serde(rename = "apiVersion")]
        api: String,
        kind: String,
        metadata: Metadata,
        spec: super::RuleFile,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    let budgets = parse(&text(EXAMPLE)).expect("valid");
    let resources = |budgets: &[Budget], only_budgets| {
        let all = printed(budgets, RulesFormat::Kubernetes, only_budgets);
        let of_one = |text: &str| {
            // What kubectl keeps of it in an annotation has this room.
            assert!(text.len() < 230_000, "{} bytes", text.len());
            let resource: Resource = serde_saphyr::from_str(text).expect("a resource");
            assert_eq!(
                (resource.api.as_str(), resource.kind.as_str()),
                ("monitoring.coreos.com/v1", "PrometheusRule")
            );
            (resource.metadata.name, resource.spec.groups)
        };
        let (names, groups): (Vec<String>, Vec<_>) = all.split("---\n").map(of_one).unzip();
        let rules: Vec<Rule> = groups.into_iter().flatten().flat_map(|group| group.rules).collect();
        (names, rules)
    };
    let (resource_names, same) = resources(&budgets, false);
    assert_eq!(resource_names, ["jouleprint", "jouleprint-budgets"]);
    let plain = read(&printed(&budgets, RulesFormat::Prometheus, false));
    let names = |rules: &[Rule]| -> Vec<String> {
        rules
            .iter()
            .map(|rule| format!("{}{} {} {:?}", rule.record, rule.alert, rule.expr, rule.labels))
            .collect()
    };
    assert_eq!(names(&same), names(&plain));
    // Many of the largest kind: several resources, and the alerts once.
    let many: String = (0..60)
        .map(|at| {
            format!(
                "- {{name: 'team-{at}-of-many', owner: o, grams: 1kg, period: month, overhead: proportional, \
                 match: {{group_kind: namespace, group: 'team-{at}-of-many'}}}}\n"
            )
        })
        .collect();
    let many = parse(&format!("budgets:\n{many}")).expect("valid");
    let (resource_names, same) = resources(&many, true);
    let expected = ["jouleprint-budgets", "jouleprint-budgets-2", "jouleprint-budgets-3"];
    assert_eq!(resource_names, expected);
    let (mut same, mut plain) = (names(&same), names(&read(&printed(&many, RulesFormat::Prometheus, true))));
    same.sort();
    plain.sort();
    assert_eq!(same, plain);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let valid = "  grams: 1kg\n  period: 30d";
    assert!(budget(valid).is_ok());
    for (lines, parts) in [
        ("  period: 30d", vec!["grams", "line 4"]),
        ("  grams: 1kg", vec!["period", "line 4"]),
        ("  grams: much\n  period: 30d", vec!["\"much\"", "write 900g, 120kg or 1.5t", "line 4"]),
        ("  grams: -1kg\n  period: 30d", vec!["not a plain decimal", "line 4"]),
        ("  grams: 0\n  period: 30d", vec!["more than 0", "line 2"]),
        ("  grams: 99999999999999t\n  period: 30d", vec!["too large", "line 4"]),
        ("  grams: 1kg\n  period: weekly", vec!["\"weekly\" is no period", "write month", "line 5"]),
        ("  grams: 1kg\n  period: 0d", vec!["is no period"]),
        ("  grams: 1kg\n  period: 367d", vec!["366d at the most"]),
        ("  grams: 1kg\n  period: 30d\n  soft: 1", vec!["soft must be below hard", "line 2"]),
        ("  grams: 1kg\n  period: 30d\n  hard: 80%", vec!["\"80%\" is no share", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  overhead: all", vec!["all", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  limit: 3", vec!["limit", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  overhead: proportional", vec!["is for groups"]),
        (
            "  grams: 1kg\n  period: 30d\n  overhead: proportional\n  match: {group_kind: k, group: g, host: h}",
            vec!["not by host or grid_zone"],
        ),
        (
            "  grams: 1kg\n  period: 30d\n  overhead: proportional\n  match: {group_kind: k, group: [g, '']}",
            vec!["groups that have a name", "line 2"],
        ),
        ("  grams: 1kg\n  period: 30d\n  match: {group: g}", vec!["group and group_kind belong together"]),
        ("  grams: 1kg\n  period: 30d\n  match: {group_kind: [a, b], group: g}", vec!["one kind", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  match: {job_id: '7'}", vec!["\"job_id\"", "series end", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  match: {instance: x}", vec!["who was scraped"]),
        ("  grams: 1kg\n  period: 30d\n  match: {gpu: x}", vec!["all hardware together"]),
        ("  grams: 1kg\n  period: 30d\n  match: {team: x}", vec!["\"team\"", "do not have it", "line 6"]),
        ("  grams: 1kg\n  period: 30d\n  match: {host: []}", vec!["empty list", "line 6"]),
        (
            "  grams: 1kg\n  period: 30d\n- name: b\n  owner: p\n  grams: 1\n  period: 1d",
            vec!["two budgets \"b\"", "line 6"],
        ),
        (
            "  grams: 1kg\n  period: 30d\n- name: ' '\n  owner: p\n  grams: 1\n  period: 1d",
            vec!["is no name", "line 6"],
        ),
    ] {
        let error = budget(lines).expect_err(lines);
        for part in parts {
            assert!(error.contains(part), "{lines}\n{error:?} lacks {part:?}");
        }
    }
    let many: String =
        (0..1001).map(|at| format!("- {{name: b{at}, owner: o, grams: 1, period: 1d}}\n")).collect();
    assert!(parse(&format!("budgets:\n{many}")).expect_err("too many").contains("1001 budgets"));
}

#[test]
fn amounts_are_exact() {
    for (grams, milligrams) in [
        ("120kg", 120_000_000),
        ("1.5t", 1_500_000_000),
        ("900g", 900_000),
        ("0.25", 250),
        ("1.000001kg", 1_000_001),
    ] {
        let budgets = budget(&format!("  grams: {grams}\n  period: month")).expect(grams);
        assert_eq!(budgets[0].milligrams, milligrams, "{grams}");
        assert_eq!((budgets[0].soft, budgets[0].hard), (800_000, 1_000_000));
        assert_eq!((budgets[0].period, budgets[0].overhead), (Period::Month, Overhead::None));
    }
}

fn selectors(expr: &Expr) -> Vec<(String, String)> {
    struct Values(Vec<(String, String)>);
    impl ExprVisitor for Values {
        type Error = String;
        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
            let selector = match expr {
                Expr::VectorSelector(selector) => selector,
                Expr::MatrixSelector(matrix) => &matrix.vs,
                _ => return Ok(true),
            };
            let matchers = selector.matchers.matchers.iter();
            self.0.extend(matchers.map(|matcher| (matcher.name.clone(), matcher.value.clone())));
            Ok(true)
        }
    }
    let mut values = Values(Vec::new());
    walk_expr(&mut values, expr).expect("walked");
    values.0
}

#[test]
fn no_name_breaks_out_of_its_rule() {
    for name in [
        "plain",
        "a\"b",
        "back\\slash\\",
        "two\nlines\r\n- record: x",
        "{{ .Labels }} {{ $value }}",
        "}) or vector(1) #",
        "größe 電力 \u{1f33f} \u{2028} \u{85}",
        "a|b.*(c)[d]$^+?{2}",
        "'single' : # - yes",
        "\t\u{0}\u{7f}",
    ] {
        for several in [false, true] {
            let values =
                if several { vec![name.to_owned(), "other".to_owned()] } else { vec![name.to_owned()] };
            let mut budgets =
                budget("  grams: 1kg\n  period: month\n  match: {group_kind: k, group: g}").expect("valid");
            budgets[0].name = name.to_owned();
            budgets[0].owner = name.to_owned();
            budgets[0].selection.matchers[1].1 = values.clone();
            let plain = read(&printed(&budgets, RulesFormat::Prometheus, true));
            let count = read(&printed(
                &budget("  grams: 1kg\n  period: month").expect("valid"),
                RulesFormat::Prometheus,
                true,
            ))
            .len();
            assert_eq!(plain.len(), count, "{name:?}: as many rules as of any other name");
            for rule in &plain {
                let expr = parser::parse(&rule.expr)
                    .unwrap_or_else(|error| panic!("{name:?}: {error}\n{}", rule.expr));
                for (label, value) in selectors(&expr) {
                    match label.as_str() {
                        "budget" | "owner" => assert_eq!(value, name),
                        "period" => assert!(["month", "[123]d"].contains(&&*value), "{value:?}"),
                        "group" if several => {
                            let pattern =
                                regex_lite::Regex::new(&format!("^(?s:{value})$")).expect("a pattern");
                            assert!(values.iter().all(|value| pattern.is_match(value)), "{value:?}");
                            assert!(!pattern.is_match("another"), "{value:?}");
                        }
                        "group" => assert_eq!(value, name),
                        _ => assert_eq!(value, "k", "{label}"),
                    }
                }
                if rule.labels.contains_key("budget") {
                    assert_eq!((rule.labels["budget"].as_str(), rule.labels["owner"].as_str()), (name, name));
                }
            }
        }
    }
}

#[test]
fn a_threshold_can_be_reached_or_is_left_out() {
    let thresholds = |lines: &str| -> Vec<String> {
        let rules = read(&printed(&budget(lines).expect(lines), RulesFormat::Prometheus, true));
        let limits = rules.iter().filter_map(|rule| {
            let range = rule.record.strip_prefix("budget:jouleprint_emissions_burn_limit:ratio_rate")?;
            Some(format!("{range} {}", rule.expr))
        });
        limits.collect()
    };
    // 1000 g in 30 days; the peak says how many times that can be burnt.
    for (peak, expected) in [
        ("", vec!["6h vector(6)", "1d vector(2)", "3d vector(1.2)"]),
        ("  peak_grams_per_hour: 20g", vec!["6h vector(6)", "1d vector(2)", "3d vector(1.2)"]),
        ("  peak_grams_per_hour: 5g", vec!["6h vector(2.88)", "1d vector(2)", "3d vector(1.2)"]),
        ("  peak_grams_per_hour: 3g", vec!["1d vector(1.728)", "3d vector(1.2)"]),
        ("  peak_grams_per_hour: 2g", vec!["3d vector(1.152)"]),
        ("  peak_grams_per_hour: 1.5g", vec![]),
    ] {
        assert_eq!(thresholds(&format!("  grams: 1000g\n  period: 30d\n{peak}")), expected, "{peak}");
    }
    // A range that would spend it all cannot warn of it.
    for (period, expected) in [
        ("1d", vec![]),
        ("2d", vec!["6h vector(6)"]),
        ("3d", vec!["6h vector(6)", "1d vector(2)"]),
        ("4d", vec!["6h vector(6)", "1d vector(2)", "3d vector(1.2)"]),
    ] {
        assert_eq!(thresholds(&format!("  grams: 1000g\n  period: {period}")), expected, "{period}");
    }
    // A month is taken for one of 28 days.
    assert_eq!(
        thresholds("  grams: 1000g\n  period: month\n  peak_grams_per_hour: 5g"),
        ["6h vector(2.688)", "1d vector(2)", "3d vector(1.2)"]
    );
}
