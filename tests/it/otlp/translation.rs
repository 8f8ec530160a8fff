//! OTLP messages as a Prometheus server takes them: the rules of otlptranslator with suffixes.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;
use std::collections::BTreeMap;

/// Name, labels and the bits of the value.
pub(crate) type Series = (String, BTreeMap<String, String>, u64);

/// Upper bounds and counts.
pub(crate) type Buckets = Vec<(f64, u64)>;

/// One data point with what stands around it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) flags: u32,
    pub(crate) value: Option<f64>,
    pub(crate) is_sum: bool,
    pub(crate) is_histogram: bool,
    pub(crate) is_delta: bool,
    /// Bounds with counts, count and sum.
    pub(crate) histogram: Option<(Buckets, u64, f64)>,
}

impl Point {
    pub(crate) fn is_gone(&self) -> bool {
        self.flags & 1 == 1
    }
}

pub(crate) fn text_attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{}: {other:?}", pair.key),
    };
    let map: BTreeMap<_, _> = attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect();
    assert_eq!(map.len(), attributes.len(), "no attribute comes twice: {attributes:?}");
    map
}

/// All points of a message.
pub(crate) fn points(message: &[u8]) -> Vec<Point> {
    let request = ExportMetricsServiceRequest::decode(message).expect("a message of the protocol");
    let mut points = Vec::new();
    for of_resource in request.resource_metrics {
        let attributes = text_attributes(&of_resource.resource.expect("a resource").attributes);
        assert_eq!(attributes["service.name"], "jouleprint");
        assert!(of_resource.schema_url.starts_with("https://opentelemetry.io/schemas/1."));
        for of_scope in of_resource.scope_metrics {
            assert_eq!(of_scope.scope.expect("a scope").name, "jouleprint");
            for metric in of_scope.metrics {
                assert!(!metric.description.is_empty() && metric.metadata.is_empty());
                let (name, unit) = (metric.name, metric.unit);
                let (numbers, is_sum, temporality) = match metric.data.expect("data") {
                    Data::Gauge(gauge) => (gauge.data_points, false, 2),
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic, "{name}");
                        (sum.data_points, true, sum.aggregation_temporality)
                    }
                    Data::Histogram(histogram) => {
                        let is_delta = histogram.aggregation_temporality == 1;
                        points.extend(histogram.data_points.into_iter().map(|point| {
                            let bounds = point.explicit_bounds.into_iter().chain([f64::INFINITY]);
                            let buckets = bounds.zip(point.bucket_counts).collect();
                            Point {
                                name: name.clone(),
                                unit: unit.clone(),
                                attributes: text_attributes(&point.attributes),
                                start: point.start_time_unix_nano,
                                time: point.time_unix_nano,
                                flags: point.flags,
                                value: None,
                                is_sum: false,
                                is_histogram: true,
                                is_delta,
                                histogram: point.sum.map(|sum| (buckets, point.count, sum)),
                            }
                        }));
                        continue;
                    }
                    other => panic!("{name}: {other:?}"),
                };
                assert!(temporality == 1 || temporality == 2, "{name}");
                points.extend(numbers.into_iter().map(|point| Point {
                    name: name.clone(),
                    unit: unit.clone(),
                    attributes: text_attributes(&point.attributes),
                    start: point.start_time_unix_nano,
                    time: point.time_unix_nano,
                    flags: point.flags,
                    value: point.value.map(|value| match value {
                        Value::AsDouble(value) => value,
                        Value::AsInt(value) => value as f64,
                    }),
                    is_sum,
                    is_histogram: false,
                    is_delta: temporality == 1,
                    histogram: None,
                }));
            }
        }
    }
    points
}

/// What a point is after the translation.
pub(crate) fn series(point: &Point) -> Vec<Series> {
    let name = prometheus_name(&point.name, &point.unit, point.is_sum, !point.is_histogram);
    let labels: BTreeMap<String, String> =
        point.attributes.iter().map(|(key, value)| (label_name(key), value.clone())).collect();
    if let Some((buckets, count, sum)) = &point.histogram {
        let mut below = 0;
        let mut all: Vec<Series> = buckets
            .iter()
            .map(|(limit, count)| {
                below += count;
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), bound(*limit));
                (format!("{name}_bucket"), labels, (below as f64).to_bits())
            })
            .collect();
        all.push((format!("{name}_count"), labels.clone(), (*count as f64).to_bits()));
        all.push((format!("{name}_sum"), labels, sum.to_bits()));
        return all;
    }
    vec![(name, labels, point.value.expect("a value").to_bits())]
}

pub(crate) fn bound(limit: f64) -> String {
    format!("{limit:?}")
}

fn label_name(name: &str) -> String {
    name.replace(|char: char| !char.is_ascii_alphanumeric(), "_")
}

/// Name, unit and type to a name.
pub(crate) fn prometheus_name(name: &str, unit: &str, is_counter: bool, is_number: bool) -> String {
    let mut tokens: Vec<String> = name
        .split(|char: char| !char.is_ascii_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let braces = |unit: &str| unit.contains(['{', '}']);
    let main = if braces(main) { "" } else { unit_word(main.trim()) };
    let per = if braces(per) { "" } else { per_word(per.trim()) };
    let mut add = |word: &str| {
        if !word.is_empty() && !tokens.iter().any(|token| token == word) {
            tokens.push(word.to_owned());
        }
    };
    add(main);
    if !per.is_empty() {
        add("per");
        add(per);
    }
    if is_counter {
        tokens.retain(|token| token != "total");
        tokens.push("total".to_owned());
    } else if unit == "1" && is_number {
        tokens.retain(|token| token != "ratio");
        tokens.push("ratio".to_owned());
    }
    tokens.join("_")
}

fn unit_word(unit: &str) -> &str {
    match unit {
        "1" => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        other => other,
    }
}
