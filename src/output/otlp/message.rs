//! A snapshot as OTLP messages, made from the catalogue like the page: same series, same labels, same
//! values. A message has a bound; what does not fit goes into the next one, made when this one has gone.
//!
//! Frames and number points are written here, byte by byte: prost takes 1.5 µs for a point with its
//! attributes, most of it for lengths that it finds out anew on each level. All else is the project's own types, by
//! which the tests read every message back.

use super::attributes::{attribute_name, key_value};
use super::baseline::Baselines;
use super::wishes::Temporality;
use crate::model::quantity::Nanos;
use crate::model::snapshot::{Pushed, Snapshot};
use crate::output::catalogue::{Family, Kind, Number, Sink, families};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, DataPointFlags, HistogramDataPoint};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// gRPC receivers take 4 MiB unless told otherwise, and so do some before HTTP.
pub const MAX_MESSAGE_BYTES: usize = 4_000_000;

/// What stands around the points of a message, at the most: names, help, lengths.
const FRAME_BYTES: usize = 4_096;

/// The conventions that names and attributes follow.
pub const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Numbers of fields, in opentelemetry/proto/metrics/v1/metrics.proto.
mod field {
    pub(super) const RESOURCE_METRICS: u32 = 1;
    pub(super) const RESOURCE: u32 = 1;
    pub(super) const SCOPE_METRICS: u32 = 2;
    pub(super) const SCHEMA_URL: u32 = 3;
    pub(super) const SCOPE: u32 = 1;
    pub(super) const METRICS: u32 = 2;
    pub(super) const NAME: u32 = 1;
    pub(super) const DESCRIPTION: u32 = 2;
    pub(super) const UNIT: u32 = 3;
    pub(super) const GAUGE: u32 = 5;
    pub(super) const SUM: u32 = 7;
    pub(super) const HISTOGRAM: u32 = 9;
    pub(super) const DATA_POINTS: u32 = 1;
    pub(super) const TEMPORALITY: u32 = 2;
    pub(super) const IS_MONOTONIC: u32 = 3;
    // Of a point.
    pub(super) const START: u32 = 2;
    pub(super) const TIME: u32 = 3;
    pub(super) const AS_DOUBLE: u32 = 4;
    pub(super) const ATTRIBUTES: u32 = 7;
    pub(super) const FLAGS: u32 = 8;
    // Of an attribute and its value, in common.proto.
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    pub(super) const STRING: u32 = 1;
}

/// What a push says.
pub struct Content<'a> {
    /// The state now.
    pub snapshot: &'a Snapshot,
    /// States whose series the backend knows: those that are gone are told to be so.
    pub known: &'a [Arc<Snapshot>],
    /// Totals or differences.
    pub temporality: Temporality,
    /// What differences are from.
    pub baselines: &'a Baselines,
    /// The resource, encoded.
    pub resource: &'a [u8],
}

/// Where a message begins: at a point of a family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    family: usize,
    point: usize,
}

/// One message.
pub struct Part {
    /// An `ExportMetricsServiceRequest`.
    pub bytes: Vec<u8>,
    /// How many points it has.
    pub points: usize,
    /// What will have arrived once it is acknowledged.
    pub pushed: Vec<Pushed>,
    /// Where the next one begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

impl Content<'_> {
    /// The message that begins at `from`, of about `max_bytes` at the most.
    pub fn part(&self, from: Cursor, max_bytes: usize) -> Part {
        let room = max_bytes.saturating_sub(self.resource.len() + FRAME_BYTES).max(FRAME_BYTES);
        let mut metrics = Vec::new();
        let mut part = Part { bytes: Vec::new(), points: 0, pushed: Vec::new(), next: None };
        let mut writer = Writer::new(self, room);
        for (index, family) in families().enumerate().skip(from.family) {
            let skip = if index == from.family { from.point } else { 0 };
            let stopped = writer.write(family, skip, &mut metrics);
            if let Some(point) = stopped {
                part.next = Some(Cursor { family: index, point });
                break;
            }
        }
        part.points = writer.written;
        part.pushed = writer.pushed;
        part.bytes = enclose(self.resource, &metrics);
        part
    }
}

/// A message without a point.
pub(super) fn empty(resource: &[u8]) -> Vec<u8> {
    enclose(resource, &[])
}

/// Puts metrics into a scope, the scope beside the resource, and both into a request.
fn enclose(resource: &[u8], metrics: &[u8]) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "jouleprint".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope = scope.encode_to_vec();
    let schema = SCHEMA.as_bytes();
    let of_scope = framed_len(scope.len()) + metrics.len() + framed_len(schema.len());
    let of_resource = framed_len(resource.len()) + framed_len(of_scope) + framed_len(schema.len());
    let mut bytes = Vec::with_capacity(framed_len(of_resource));
    open(field::RESOURCE_METRICS, of_resource, &mut bytes);
    frame(field::RESOURCE, resource, &mut bytes);
    open(field::SCOPE_METRICS, of_scope, &mut bytes);
    frame(field::SCOPE, &scope, &mut bytes);
    bytes.extend_from_slice(metrics);
    frame(field::SCHEMA_URL, schema, &mut bytes);
    frame(field::SCHEMA_URL, schema, &mut bytes);
    bytes
}

/// The tag and length before something; every tag here is one byte.
fn open(tag: u32, length: usize, bytes: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

fn frame(tag: u32, content: &[u8], bytes: &mut Vec<u8>) {
    open(tag, content.len(), bytes);
    bytes.extend_from_slice(content);
}

fn number(tag: u32, value: u64, bytes: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, bytes);
    encode_varint(value, bytes);
}

fn framed_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// What a pass over a family's samples is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Writing what is there.
    Present,
    /// Counting what was there.
    Look,
    /// Learning what is there, series by series.
    Learn,
    /// Writing that it is there no more.
    Ended,
}

/// Writes the points of one family after another.
struct Writer<'a> {
    content: &'a Content<'a>,
    room: usize,
    written: usize,
    pushed: Vec<Pushed>,
    // Of the family in hand.
    family: Option<&'a Family>,
    names: Vec<String>,
    pass: Pass,
    since: Nanos,
    skip: usize,
    seen: usize,
    stopped: Option<usize>,
    points: Vec<u8>,
    keys: Vec<u128>,
    // How many series there are and were, and the sums of their fingerprints.
    now: (usize, u64),
    old: (usize, u64),
    // Used again for each point.
    attributes: Vec<u8>,
    key: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(content: &'a Content<'a>, room: usize) -> Writer<'a> {
        Writer {
            content,
            room,
            written: 0,
            pushed: Vec::new(),
            family: None,
            names: Vec::new(),
            pass: Pass::Present,
            since: Nanos::ZERO,
            skip: 0,
            seen: 0,
            stopped: None,
            points: Vec::new(),
            keys: Vec::new(),
            now: (0, 0),
            old: (0, 0),
            attributes: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Writes one family; returns the point at which there was no more room.
    fn write(&mut self, family: &'a Family, skip: usize, metrics: &mut Vec<u8>) -> Option<usize> {
        self.family = Some(family);
        self.names = family.labels.iter().map(|label| attribute_name(label).to_owned()).collect();
        (self.skip, self.seen, self.stopped) = (skip, 0, None);
        self.points.clear();
        self.now = (0, 0);
        self.pass(Pass::Present, family, self.content.snapshot);
        if !self.content.known.is_empty() && self.stopped.is_none() {
            self.write_ended(family);
        }
        if !self.points.is_empty() {
            metric(family, self.content.temporality, &self.points, metrics);
            self.room = self.room.saturating_sub(self.points.len() + FRAME_BYTES / 8);
        }
        self.stopped
    }

    fn pass(&mut self, pass: Pass, family: &Family, snapshot: &Snapshot) {
        (self.pass, self.since) = (pass, snapshot.totals.started);
        (family.collect)(snapshot, self);
    }

    /// Tells of series that the backend knows and that are gone.
    fn write_ended(&mut self, family: &Family) {
        self.keys.clear();
        for known in self.content.known {
            // Hardly ever has a series ended; the sum of all fingerprints tells without looking for each.
            self.old = (0, 0);
            self.pass(Pass::Look, family, known);
            if self.old == self.now {
                continue;
            }
            if self.keys.is_empty() {
                self.pass(Pass::Learn, family, self.content.snapshot);
                self.keys.sort_unstable();
            }
            self.pass(Pass::Ended, family, known);
        }
    }

    /// Whether this point belongs into this message.
    fn is_due(&mut self) -> bool {
        let index = self.seen;
        self.seen += 1;
        if self.stopped.is_some() || index < self.skip {
            return false;
        }
        if self.points.len() >= self.room {
            self.stopped = Some(index);
            return false;
        }
        true
    }

    /// A series by its name and labels.
    fn digest(&mut self, labels: &[&str]) -> u128 {
        self.key.clear();
        self.key.extend_from_slice(self.family.map_or("", |family| family.name).as_bytes());
        for label in labels {
            self.key.push(0xff);
            self.key.extend_from_slice(label.as_bytes());
        }
        xxh3_128(&self.key)
    }

    /// What is to be done with a sample: nothing, or writing it, and whether as gone.
    fn judge(&mut self, labels: &[&str], has_history: bool) -> Option<(u128, bool)> {
        match self.pass {
            Pass::Present => {
                if !self.content.known.is_empty() {
                    self.now = counted(self.now, labels);
                }
                if !self.is_due() {
                    return None;
                }
                Some((if has_history { self.digest(labels) } else { 0 }, false))
            }
            Pass::Look => {
                self.old = counted(self.old, labels);
                None
            }
            Pass::Learn => {
                let key = self.digest(labels);
                self.keys.push(key);
                None
            }
            Pass::Ended => {
                let key = self.digest(labels);
                let is_gone = self.keys.binary_search(&key).is_err();
                (is_gone && self.is_due()).then_some((key, true))
            }
        }
    }

    /// The attributes of the point in hand: a label without a value is none.
    fn attribute(&mut self, labels: &[&str]) {
        let bytes = &mut self.attributes;
        bytes.clear();
        for (name, label) in self.names.iter().zip(labels).filter(|(_, label)| !label.is_empty()) {
            let value = framed_len(label.len());
            open(field::ATTRIBUTES, framed_len(name.len()) + framed_len(value), bytes);
            frame(field::KEY, name.as_bytes(), bytes);
            open(field::VALUE, value, bytes);
            frame(field::STRING, label.as_bytes(), bytes);
        }
    }

    /// A number's point, after [`Writer::attribute`].
    fn point(&mut self, start: Nanos, value: Option<f64>, flags: u32) {
        let times = [(field::START, start.get()), (field::TIME, self.time(start).get())];
        let value = value.map(|value| (field::AS_DOUBLE, value.to_bits()));
        let numbers = || times.into_iter().filter(|(_, time)| *time != 0).chain(value);
        let flag_bytes = if flags == 0 { 0 } else { 1 + encoded_len_varint(u64::from(flags)) };
        let length = self.attributes.len() + numbers().count() * (1 + size_of::<u64>()) + flag_bytes;
        open(field::DATA_POINTS, length, &mut self.points);
        for (tag, bits) in numbers() {
            encode_key(tag, WireType::SixtyFourBit, &mut self.points);
            self.points.extend_from_slice(&bits.to_le_bytes());
        }
        self.points.extend_from_slice(&self.attributes);
        if flags != 0 {
            number(field::FLAGS, u64::from(flags), &mut self.points);
        }
        self.written += 1;
    }

    /// The time of a point that began at `start`: a clock that was set back does not date it before that.
    fn time(&self, start: Nanos) -> Nanos {
        self.content.snapshot.at.wall.max(start)
    }

    /// Whether the clock was set back to before this series was last acknowledged. A point of that time would
    /// be taken for an old one: what was added waits until the clock has caught up.
    fn waits(&mut self, series: u128) -> bool {
        let at = self.content.snapshot.at.wall;
        let before = self.content.baselines.get(series);
        let before = before.filter(|before| before.start == self.since && at <= before.until);
        self.pushed.extend(before);
        before.is_some()
    }

    /// What was added to a series since it was last acknowledged, and since when; notes what will be.
    fn difference(&mut self, series: u128, value: u64) -> (u64, Nanos) {
        let start = self.since;
        let at = self.content.snapshot.at.wall;
        let (from, arrived) = match self.content.baselines.get(series) {
            Some(before) if before.start == start => (before.until, before.value),
            // It began anew, or was never pushed.
            Some(_) | None => (start, 0),
        };
        let until = at.max(from);
        self.pushed.push(Pushed { series, start, value: value.max(arrived), until });
        (value.saturating_sub(arrived), from)
    }
}

impl Sink for Writer<'_> {
    fn since(&mut self, start: Nanos) {
        self.since = start;
    }

    fn sample(&mut self, labels: &[&str], value: Number) {
        let is_counter = self.family.is_some_and(|family| family.kind == Kind::Counter);
        let is_delta = is_counter && self.content.temporality == Temporality::Delta;
        let Some((key, is_gone)) = self.judge(labels, is_delta) else { return };
        if is_delta && !is_gone && self.waits(key) {
            return;
        }
        let (value, start) = match (is_gone, is_counter, is_delta) {
            (true, ..) => (None, if is_counter { self.since } else { Nanos::ZERO }),
            (false, _, true) => {
                let (difference, from) = self.difference(key, value.parts().0);
                (Some(value.with(difference)), from)
            }
            (false, true, false) => (Some(value), self.since),
            (false, false, _) => (Some(value), Nanos::ZERO),
        };
        self.attribute(labels);
        self.point(start, value.map(Number::as_double), flags(is_gone));
    }

    fn histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum_nanoseconds: u64) {
        let is_delta = self.content.temporality != Temporality::Cumulative;
        let Some((key, is_gone)) = self.judge(labels, is_delta) else { return };
        if is_delta && !is_gone && self.waits(key.wrapping_add(1)) {
            // All its numbers were acknowledged together.
            for index in 2..=counts.len() as u128 + 1 {
                self.waits(key.wrapping_add(index));
            }
            return;
        }
        let pairs = self.names.iter().zip(labels).filter(|(_, label)| !label.is_empty());
        let mut point = HistogramDataPoint {
            attributes: pairs.map(|(name, label)| key_value(name, label)).collect(),
            start_time_unix_nano: self.since.get(),
            flags: flags(is_gone),
            ..HistogramDataPoint::default()
        };
        if !is_gone {
            let mut counts = counts.to_vec();
            let mut sum = sum_nanoseconds;
            if is_delta {
                let mut from = self.since;
                for (index, cell) in (1..).zip(counts.iter_mut().chain([&mut sum])) {
                    (*cell, from) = self.difference(key.wrapping_add(index), *cell);
                }
                point.start_time_unix_nano = from.get();
            }
            point.count = counts.iter().sum();
            point.sum = Some(Number::Nano(sum).as_double());
            point.explicit_bounds = bounds.iter().map(|bound| Number::Nano(*bound).as_double()).collect();
            point.bucket_counts = counts;
        }
        point.time_unix_nano = self.time(Nanos::new(point.start_time_unix_nano)).get();
        open(field::DATA_POINTS, point.encoded_len(), &mut self.points);
        point.encode(&mut self.points).expect("a Vec takes everything");
        self.written += 1;
    }
}

/// Counts one series more. The order of series does not matter to the sum.
fn counted((count, sum): (usize, u64), labels: &[&str]) -> (usize, u64) {
    let mut hasher = FxHasher::default();
    for label in labels {
        hasher.write(label.as_bytes());
        hasher.write_u8(0xff);
    }
    // That hash is linear: two series that change one label for the other's would leave the sum as it is.
    let mixed = hasher.finish();
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (count + 1, sum.wrapping_add(mixed ^ (mixed >> 31)))
}

const fn flags(is_gone: bool) -> u32 {
    if is_gone { DataPointFlags::NoRecordedValueMask as u32 } else { 0 }
}

/// Puts a frame with name, unit and kind around points.
fn metric(family: &Family, temporality: Temporality, points: &[u8], metrics: &mut Vec<u8>) {
    let (name, unit) = family.otel;
    let is_delta = match family.kind {
        Kind::Counter => temporality == Temporality::Delta,
        Kind::Histogram => temporality != Temporality::Cumulative,
        Kind::Gauge | Kind::Info => false,
    };
    let aggregation =
        if is_delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative };
    let (tag, mut after) = match family.kind {
        Kind::Counter => (field::SUM, Vec::new()),
        Kind::Histogram => (field::HISTOGRAM, Vec::new()),
        Kind::Gauge | Kind::Info => (field::GAUGE, Vec::new()),
    };
    if tag != field::GAUGE {
        number(field::TEMPORALITY, aggregation as u64, &mut after);
    }
    if tag == field::SUM {
        number(field::IS_MONOTONIC, 1, &mut after);
    }
    let data = points.len() + after.len();
    let mut head = Vec::new();
    frame(field::NAME, name.as_bytes(), &mut head);
    frame(field::DESCRIPTION, family.help.as_bytes(), &mut head);
    frame(field::UNIT, unit.as_bytes(), &mut head);
    open(field::METRICS, head.len() + framed_len(data), metrics);
    metrics.extend_from_slice(&head);
    open(tag, data, metrics);
    metrics.extend_from_slice(points);
    metrics.extend_from_slice(&after);
}
