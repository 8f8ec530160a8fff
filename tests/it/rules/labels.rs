//! Reads a PromQL expression and says which labels its result may have, or names the metric or label that cannot
//! be there. More is taken for possible than is, never less.

use jouleprint::output::catalogue::{Family, HTTP_REQUESTS, Kind, families, relay_families};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, BinaryExpr, Expr, LabelModifier, VectorMatchCardinality, VectorSelector};
use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeSet<String>;

/// What the scrape configuration gives every series.
const TARGET: [&str; 3] = ["cluster", "job", "instance"];

/// Metrics and recorded series, with their labels.
pub(crate) struct Known {
    metrics: BTreeMap<String, Labels>,
    recorded: BTreeMap<String, Labels>,
}

fn owned<'a>(labels: impl IntoIterator<Item = &'a str>) -> Labels {
    labels.into_iter().map(str::to_owned).collect()
}

impl Known {
    /// The program's own series, those of its relay, and `up`.
    pub(crate) fn catalogue() -> Known {
        let mut metrics = BTreeMap::from([
            ("up".to_owned(), owned(TARGET)),
            (format!("{}_total", HTTP_REQUESTS.0), owned(TARGET.into_iter().chain(["code"]))),
        ]);
        let mut take = |name: &str, kind: Kind, labels: &[&str]| {
            let suffixes: &[&str] = match kind {
                Kind::Counter => &["_total"],
                Kind::Gauge => &[""],
                Kind::Info => &["_info"],
                Kind::Histogram => &["_bucket", "_sum", "_count"],
            };
            for suffix in suffixes {
                let all = metrics.entry(format!("{name}{suffix}")).or_insert_with(|| owned(TARGET));
                all.extend(owned(labels.iter().copied()));
            }
        };
        families().for_each(|Family { name, kind, labels, .. }| take(name, *kind, labels));
        relay_families().for_each(|Family { name, kind, labels, .. }| take(name, *kind, labels));
        Known { metrics, recorded: BTreeMap::new() }
    }

    /// Takes a recorded series, in the place of what was known of it.
    pub(crate) fn add<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = &'a str>) {
        self.recorded.insert(name.to_owned(), owned(labels));
    }

    pub(crate) fn is_metric(&self, name: &str) -> bool {
        self.metrics.contains_key(name)
    }

    pub(crate) fn has(&self, recorded: &str, label: &str) -> bool {
        self.recorded.get(recorded).is_some_and(|labels| labels.contains(label))
    }

    pub(crate) fn labels(&self, recorded: &str) -> BTreeSet<&str> {
        self.recorded[recorded].iter().map(String::as_str).collect()
    }
}

/// The labels that the result may have.
pub(crate) fn check(known: &Known, query: &str) -> Result<Labels, String> {
    of(known, &parser::parse(query)?)
}

fn of(known: &Known, expr: &Expr) -> Result<Labels, String> {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
        Expr::Paren(inner) => of(known, &inner.expr),
        Expr::Unary(inner) => of(known, &inner.expr),
        Expr::Subquery(inner) => of(known, &inner.expr),
        Expr::VectorSelector(selector) => selected(known, selector),
        Expr::MatrixSelector(selector) => selected(known, &selector.vs),
        Expr::Binary(binary) => joined(known, binary),
        Expr::Aggregate(aggregate) => {
            let inner = of(known, &aggregate.expr)?;
            if let Some(parameter) = &aggregate.param {
                of(known, parameter)?;
            }
            let keeps_all = ["topk", "bottomk"].contains(&aggregate.op.to_string().as_str());
            match &aggregate.modifier {
                None if keeps_all => Ok(inner),
                None => Ok(Labels::new()),
                Some(LabelModifier::Include(labels)) => {
                    has_all(&inner, &labels.labels, "by")?;
                    Ok(if keeps_all { inner } else { labels.labels.iter().cloned().collect() })
                }
                Some(LabelModifier::Exclude(labels)) => {
                    has_all(&inner, &labels.labels, "without")?;
                    Ok(inner.into_iter().filter(|label| !labels.labels.contains(label)).collect())
                }
            }
        }
        Expr::Call(call) => {
            let mut all = Labels::new();
            for argument in &call.args.args {
                all.extend(of(known, argument)?);
            }
            let is_plain =
                ["vector", "scalar", "absent", "absent_over_time", "time"].contains(&call.func.name);
            Ok(if is_plain { Labels::new() } else { all })
        }
        Expr::Extension(_) => Err("an extension of PromQL".to_owned()),
    }
}

fn selected(known: &Known, selector: &VectorSelector) -> Result<Labels, String> {
    let name = selector.name.as_deref().ok_or("a selector without a name")?;
    let labels = known.recorded.get(name).or_else(|| known.metrics.get(name));
    let labels = labels.ok_or_else(|| format!("no metric and no rule {name}"))?;
    let matched = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone());
    has_all(labels, &matched.collect::<Vec<_>>(), name)?;
    let excludes_others = |matcher: &Matcher| {
        let is_filled = matches!(matcher.op, MatchOp::Equal) && !matcher.value.is_empty();
        matcher.name == "origin"
            && (is_filled || matches!(matcher.op, MatchOp::NotEqual) && matcher.value.is_empty())
    };
    if name.starts_with("hw_") && !selector.matchers.matchers.iter().any(excludes_others) {
        return Err(format!("{name} without origin: other programs have it too"));
    }
    Ok(labels.clone())
}

fn joined(known: &Known, binary: &BinaryExpr) -> Result<Labels, String> {
    let (left, right) = (of(known, &binary.lhs)?, of(known, &binary.rhs)?);
    let operator = binary.op.to_string();
    let is_set = ["and", "or", "unless"].contains(&operator.as_str());
    let modifier = binary.modifier.as_ref();
    let on = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        Some(LabelModifier::Include(labels)) => {
            has_all(&left, &labels.labels, "on, left")?;
            has_all(&right, &labels.labels, "on, right")?;
            Some(labels.labels.iter().cloned().collect::<Labels>())
        }
        Some(LabelModifier::Exclude(_)) => {
            return Err("ignoring: say on what, so that a label may be added".to_owned());
        }
        None => None,
    };
    if is_set {
        return Ok(if operator == "or" { left.union(&right).cloned().collect() } else { left });
    }
    let include = |from: &Labels, many: Labels, taken: &[String]| {
        has_all(from, taken, "group")?;
        Ok(many.into_iter().chain(taken.iter().cloned()).collect())
    };
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(labels)) => include(&right, left, &labels.labels),
        Some(VectorMatchCardinality::OneToMany(labels)) => include(&left, right, &labels.labels),
        _ => Ok(match on {
            Some(on) => on,
            // Of a number and a vector only one has labels.
            None => left.union(&right).cloned().collect(),
        }),
    }
}

fn has_all(labels: &Labels, asked: &[String], place: &str) -> Result<(), String> {
    match asked.iter().find(|label| !labels.contains(*label)) {
        Some(label) => Err(format!("{place}: no label {label} (there are {labels:?})")),
        None => Ok(()),
    }
}
