//! What a query gives: the labels of its results, told from those of its series as Prometheus does it, and
//! habits that make numbers wrong.

use super::known::Known;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse,
};
use std::collections::BTreeSet;

/// Labels by which results can be told apart.
pub(crate) type Labels = BTreeSet<String>;

/// A query, if it is one.
pub(crate) fn parsed(text: &str) -> Result<Expr, String> {
    parse(text)
}

/// The parts of an expression.
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(of) => std::iter::once(&*of.expr).chain(of.param.as_deref()).collect(),
        Expr::Unary(of) => vec![&of.expr],
        Expr::Binary(of) => vec![&of.lhs, &of.rhs],
        Expr::Paren(of) => vec![&of.expr],
        Expr::Subquery(of) => vec![&of.expr],
        Expr::Call(of) => of.args.args.iter().map(|argument| &**argument).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// Tells the labels of results, and collects what cannot be.
pub(crate) struct Check<'a> {
    known: &'a Known,
    pub(crate) faults: Vec<String>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(known: &'a Known) -> Check<'a> {
        Check { known, faults: Vec::new() }
    }

    /// The labels that results of it may have; none of a number.
    pub(crate) fn labels(&mut self, expr: &Expr) -> Labels {
        match expr {
            Expr::VectorSelector(selector) => self.selected(selector),
            Expr::MatrixSelector(matrix) => self.selected(&matrix.vs),
            Expr::Paren(of) => self.labels(&of.expr),
            Expr::Unary(of) => self.labels(&of.expr),
            Expr::Subquery(of) => self.labels(&of.expr),
            Expr::Aggregate(of) => self.aggregated(of),
            Expr::Call(of) => self.called(of),
            Expr::Binary(of) => self.joined(of),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Labels::new(),
        }
    }

    fn selected(&mut self, selector: &VectorSelector) -> Labels {
        let name = selector.name.as_deref().unwrap_or_default();
        let Some(labels) = self.known.labels(name) else {
            self.faults.push(format!("no such series: {name:?}"));
            return Labels::new();
        };
        for matcher in &selector.matchers.matchers {
            self.has(labels, &matcher.name, name);
        }
        if name.starts_with("hw_")
            && !selector.matchers.matchers.iter().any(|matcher| matcher.name == "origin")
        {
            self.faults.push(format!("{name} without an origin may be another program's"));
        }
        labels.clone()
    }

    fn has(&mut self, labels: &Labels, label: &str, whose: &str) {
        if !labels.contains(label) {
            self.faults.push(format!("{whose} has no label {label}, only {labels:?}"));
        }
    }

    fn aggregated(&mut self, of: &AggregateExpr) -> Labels {
        let inner = self.labels(&of.expr);
        let shown = of.expr.to_string();
        // These pick series and leave them as they are.
        let picks = ["topk", "bottomk"].contains(&of.op.to_string().as_str());
        let kept: Labels = match &of.modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => {
                by.labels.iter().for_each(|label| self.has(&inner, label, &shown));
                by.labels.iter().cloned().collect()
            }
            Some(LabelModifier::Exclude(without)) => {
                inner.iter().filter(|label| !without.labels.contains(label)).cloned().collect()
            }
        };
        if picks { inner } else { kept }
    }

    fn called(&mut self, of: &Call) -> Labels {
        let text = |at: usize| match of.args.args.get(at).map(|argument| &**argument) {
            Some(Expr::StringLiteral(text)) => text.val.clone(),
            _ => String::new(),
        };
        let mut labels = Labels::new();
        for argument in &of.args.args {
            labels.extend(self.labels(argument));
        }
        match of.func.name {
            "label_replace" => {
                self.has(&labels, &text(3), "label_replace");
                labels.insert(text(1));
            }
            "label_join" => {
                (3..of.args.args.len()).for_each(|at| self.has(&labels, &text(at), "label_join"));
                labels.insert(text(1));
            }
            "histogram_quantile" => {
                self.has(&labels, "le", "histogram_quantile");
                labels.remove("le");
            }
            "scalar" | "vector" => labels.clear(),
            _ => {}
        }
        labels
    }

    fn joined(&mut self, of: &BinaryExpr) -> Labels {
        let (left, right) = (self.labels(&of.lhs), self.labels(&of.rhs));
        if is_number(&of.lhs) || is_number(&of.rhs) {
            return if is_number(&of.lhs) { right } else { left };
        }
        let operator = of.op.to_string();
        let modifier = of.modifier.as_ref();
        let on: Labels = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(on)) => {
                for label in &on.labels {
                    self.has(&left, label, &of.lhs.to_string());
                    self.has(&right, label, &of.rhs.to_string());
                }
                on.labels.iter().cloned().collect()
            }
            Some(LabelModifier::Exclude(ignoring)) => {
                left.iter().filter(|label| !ignoring.labels.contains(label)).cloned().collect()
            }
            None => {
                // What has other labels never matches; `or` may add anything.
                if left != right && operator != "or" {
                    self.faults.push(format!("{left:?} {operator} {right:?} never match"));
                }
                left.clone()
            }
        };
        match operator.as_str() {
            "and" | "unless" => return left,
            "or" => return left.union(&right).cloned().collect(),
            _ => {}
        }
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(extra)) => {
                extra.labels.iter().for_each(|label| self.has(&right, label, &of.rhs.to_string()));
                left.union(&extra.labels.iter().cloned().collect()).cloned().collect()
            }
            Some(VectorMatchCardinality::OneToMany(extra)) => {
                extra.labels.iter().for_each(|label| self.has(&left, label, &of.lhs.to_string()));
                right.union(&extra.labels.iter().cloned().collect()).cloned().collect()
            }
            _ => on,
        }
    }
}

fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(of) => unwrapped(&of.expr),
        other => other,
    }
}

/// Whether it is one number and no vector.
fn is_number(expr: &Expr) -> bool {
    match unwrapped(expr) {
        Expr::NumberLiteral(_) => true,
        Expr::Call(of) => ["time", "scalar"].contains(&of.func.name),
        Expr::Binary(of) => is_number(&of.lhs) && is_number(&of.rhs),
        _ => false,
    }
}

/// Whether it is above 0 wherever it is at all.
fn is_positive(expr: &Expr) -> bool {
    match unwrapped(expr) {
        Expr::NumberLiteral(number) => number.val > 0.0,
        Expr::Binary(of) if of.op.to_string() == ">" => {
            !of.modifier.as_ref().is_some_and(|modifier| modifier.return_bool) && is_number(&of.rhs)
        }
        _ => false,
    }
}

/// Collects what makes numbers wrong: divisions by 0, quantiles of nothing, counters read as they are, hours
/// that are not added up. `within` is the function around the expression.
pub(crate) fn habits(expr: &Expr, within: Option<&str>, faults: &mut Vec<String>) {
    let mut inside = within;
    match expr {
        Expr::Binary(of) => {
            if ["/", "%"].contains(&of.op.to_string().as_str()) && !is_positive(&of.rhs) {
                faults.push(format!("a division by what may be 0: {}", of.rhs));
            }
            if of.op.to_string() == "and" && is_positive(&of.rhs) {
                inside = Some("and");
            }
        }
        Expr::Call(of) => {
            if of.func.name == "histogram_quantile" && within != Some("and") {
                faults.push("a quantile of no observations is NaN: add `and on () (… > 0)`".to_owned());
            }
            inside = Some(of.func.name);
        }
        Expr::VectorSelector(selector) => read(selector, None, faults),
        Expr::MatrixSelector(matrix) => read(&matrix.vs, within, faults),
        _ => {}
    }
    children(expr).into_iter().for_each(|child| habits(child, inside, faults));
}

/// Counters whose value itself is looked at: totals of meters, which a table shows, and the sum check.
const SHOWN_AS_THEY_ARE: [&str; 5] = [
    "hw_energy_joules_total",
    "jouleprint_residual_energy_joules_total",
    "jouleprint_job_energy_joules_total",
    "jouleprint_quarantined_energy_joules_total",
    "jouleprint_meter_",
];

fn read(selector: &VectorSelector, function: Option<&str>, faults: &mut Vec<String>) {
    let name = selector.name.as_deref().unwrap_or_default();
    let is_counter = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    let is_hourly = name.ends_with(":increase1h");
    let is_job = name.starts_with("jouleprint_job_");
    match function {
        Some("sum_over_time") if !is_hourly => faults.push(format!("{name} is not of hours")),
        Some("rate") if !is_counter => faults.push(format!("the rate of {name}, which is no counter")),
        // How many hours are recorded is a question of its own.
        Some("count_over_time") if is_hourly => {}
        Some("rate" | "sum_over_time") => {}
        _ if is_hourly => faults.push(format!("{name} is to be added up by sum_over_time")),
        // A job's total is the largest value of its counter: increase() would leave its first out.
        Some("max_over_time") if is_job => {}
        Some("max_over_time" | "min_over_time") if name.ends_with("_overflow_total") => {}
        None if SHOWN_AS_THEY_ARE.iter().any(|shown| name.starts_with(shown)) => {}
        _ if is_counter => faults.push(format!("the counter {name} as it is")),
        _ => {}
    }
}

/// Each function over a range with the text of that range, as the dashboard has it.
pub(crate) fn ranges(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('[') {
        let range = text[at + 1..].split(']').next().unwrap_or_default();
        // The innermost call that is open there.
        let mut depth = 0;
        for (open, character) in text[..at].char_indices().rev() {
            match character {
                ')' => depth += 1,
                '(' if depth > 0 => depth -= 1,
                '(' => {
                    let before = text[..open].trim_end();
                    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
                    let start = before.rfind(|character| !is_name(character)).map_or(0, |place| place + 1);
                    found.push((&before[start..], range));
                    break;
                }
                _ => {}
            }
        }
    }
    found
}
