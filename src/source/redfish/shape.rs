//! What a BMC's JSON says. Pure, and of few expectations: firmware leaves fields out, writes numbers as
//! text, puts null where a sensor is silent and rubbish after the end. Redfish schemas EnvironmentMetrics,
//! PowerSubsystem, PowerSupplyMetrics and Power (DSP2046).

use crate::model::quantity::MicroWatts;
use crate::model::reading::Fault;
use serde::Deserialize;
use serde_json::Value;
use std::hash::{Hash, Hasher};

/// Members of one collection at the most: a rack manager has dozens of chassis, a blade has two.
pub const MAX_MEMBERS: usize = 64;

/// No path of a resource is longer.
const MAX_PATH: usize = 512;

/// More than a chassis of any size draws, and what a value in milliwatts by mistake comes to.
pub const MAX_WATTS: f64 = 100_000.0;

/// What one resource shows of power.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Watts, as they stand there.
    pub watts: f64,
    /// Everything beside it that moves while the meter lives: averages, energy.
    pub signs: Vec<f64>,
    /// When it was read, where that is said.
    pub time: Option<String>,
}

impl Hash for Shown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let numbers = std::iter::once(&self.watts).chain(&self.signs);
        numbers.for_each(|number| number.to_bits().hash(state));
        self.time.hash(state);
    }
}

/// The first JSON value of a body, whatever follows it.
#[must_use]
pub fn parse(body: &[u8]) -> Option<Value> {
    let mut values = serde_json::Deserializer::from_slice(body);
    Value::deserialize(&mut values).ok()
}

/// A finite number, though it be written as text.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// Where the named part of a resource is.
#[must_use]
pub fn link(resource: &Value, name: &str) -> Option<String> {
    path(resource.get(name)?)
}

/// Where the members of a collection are, and the rest of them if they are on several pages.
#[must_use]
pub fn members(collection: &Value) -> (Vec<String>, Option<String>) {
    let listed = collection.get("Members").and_then(Value::as_array);
    let paths = listed.into_iter().flatten().filter_map(path).take(MAX_MEMBERS).collect();
    let more = collection.get("Members@odata.nextLink").and_then(Value::as_str).filter(|path| is_path(path));
    (paths, more.map(str::to_owned))
}

/// A part that is named by its `@odata.id`: a path on the same server, so that a BMC cannot send us elsewhere.
fn path(reference: &Value) -> Option<String> {
    let path = reference.get("@odata.id")?.as_str()?;
    is_path(path).then(|| path.to_owned())
}

fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path.starts_with("/redfish/")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'))
}

/// What a chassis is called: by its `Id`, else by the end of its path.
#[must_use]
pub fn name(resource: &Value, path: &str) -> String {
    let id = resource.get("Id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let last = || path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    id.unwrap_or_else(last).chars().filter(|char| !char.is_control()).take(64).collect()
}

/// EnvironmentMetrics: `PowerWatts.Reading`.
#[must_use]
pub fn environment(resource: &Value) -> Option<Shown> {
    excerpt(resource, "PowerWatts")
}

/// The metrics of one power supply: `InputPowerWatts.Reading`.
#[must_use]
pub fn supply(resource: &Value) -> Option<Shown> {
    excerpt(resource, "InputPowerWatts")
}

fn excerpt(resource: &Value, name: &str) -> Option<Shown> {
    let sensor = resource.get(name)?;
    let energy = resource.get("EnergykWh").and_then(|energy| number(energy.get("Reading")?));
    let time = sensor.get("ReadingTime").and_then(Value::as_str).map(str::to_owned);
    Some(Shown { watts: number(sensor.get("Reading")?)?, signs: energy.into_iter().collect(), time })
}

/// Power: the first `PowerControl`, which is the whole chassis; others are parts of it.
#[must_use]
pub fn control(resource: &Value) -> Option<Shown> {
    let control = resource.get("PowerControl")?.get(0)?;
    let metrics = control.get("PowerMetrics");
    let sign = |name| number(metrics?.get(name)?);
    let signs = ["AverageConsumedWatts", "MinConsumedWatts", "MaxConsumedWatts"];
    Some(Shown {
        watts: number(control.get("PowerConsumedWatts")?)?,
        signs: signs.into_iter().filter_map(sign).collect(),
        time: None,
    })
}

/// Whether a part says that it is not there, so that nothing is missing if it shows nothing.
#[must_use]
pub fn is_absent(resource: &Value) -> bool {
    resource.get("Status").and_then(|status| status.get("State")).and_then(Value::as_str) == Some("Absent")
}

/// The power of everything shown.
///
/// # Errors
/// It is none that a running machine draws.
pub fn power(shown: &[Shown]) -> Result<MicroWatts, Fault> {
    let watts: f64 = shown.iter().map(|shown| shown.watts).sum();
    let is_possible = shown.iter().all(|shown| shown.watts >= 0.0) && watts > 0.0 && watts <= MAX_WATTS;
    if !is_possible {
        return Err(Fault::OutOfRange);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let microwatts = (watts * 1e6).round() as u64;
    Ok(MicroWatts::new(microwatts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn watts(shown: Option<Shown>) -> Option<f64> {
        shown.map(|shown| shown.watts)
    }

    #[test]
    fn numbers_as_firmware_writes_them() {
        for (text, expected) in [
            ("245", Some(245.0)),
            ("245.5", Some(245.5)),
            ("\"245\"", Some(245.0)),
            ("\" 245.0 \"", Some(245.0)),
            ("\"245 W\"", None),
            ("\"\"", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("null", None),
            ("true", None),
            ("[245]", None),
            ("1e400", None),
        ] {
            assert_eq!(parse(text.as_bytes()).as_ref().and_then(number), expected, "{text}");
        }
    }

    #[test]
    fn rubbish_after_the_end_is_borne_and_half_a_body_is_none() {
        let body = b"{\"PowerWatts\": {\"Reading\": 12}}\r\n\0\0<html>";
        assert_eq!(watts(parse(body).as_ref().and_then(environment)), Some(12.0));
        for body in [&b"{\"PowerWatts\": {\"Read"[..], b"", b"<html>", b"\xff\xfe"] {
            assert_eq!(parse(body), None);
        }
    }

    #[test]
    fn links_lead_to_the_same_server_only() {
        for (target, is_taken) in [
            ("/redfish/v1/Chassis", true),
            ("/redfish/v1/Chassis/", true),
            ("/redfish/v1/Chassis/Self(1)", true),
            ("https://else.where/redfish/v1", false),
            ("//else.where/redfish/v1", false),
            ("/admin", false),
            ("redfish/v1", false),
            ("/redfish/v1/ Chassis", false),
            ("/redfish/v1/\r\nX: y", false),
            ("", false),
        ] {
            let root = json!({"Chassis": {"@odata.id": target}});
            assert_eq!(link(&root, "Chassis").is_some(), is_taken, "{target:?}");
            let page = json!({"Members": [{"@odata.id": target}, null, 7], "Members@odata.nextLink": target});
            let (paths, more) = members(&page);
            assert_eq!((paths.len(), more.is_some()), (usize::from(is_taken), is_taken), "{target:?}");
        }
    }

    #[test]
    fn the_parts_that_show_power() {
        let control = |control| super::control(&json!({"PowerControl": control}));
        let several = json!([{"PowerConsumedWatts": 344}, {"PowerConsumedWatts": 90}]);
        assert_eq!(watts(control(several)), Some(344.0));
        let metrics = json!([{"PowerConsumedWatts": 344, "PowerMetrics":
            {"AverageConsumedWatts": 340, "MinConsumedWatts": null, "MaxConsumedWatts": "400"}}]);
        assert_eq!(control(metrics).expect("power").signs, [340.0, 400.0]);
        for nothing in [json!([]), json!([{}]), json!([{"PowerConsumedWatts": null}]), json!({}), json!(null)]
        {
            assert_eq!(control(nothing.clone()), None, "{nothing}");
        }
        let metrics = json!({"PowerWatts": {"Reading": 210.4, "ReadingTime": "2026-01-01T00:00:00Z"},
            "EnergykWh": {"Reading": 871.3}});
        let shown = environment(&metrics).expect("power");
        assert_eq!((shown.watts, shown.signs.as_slice()), (210.4, &[871.3][..]));
        assert!(shown.time.is_some());
        assert_eq!(environment(&json!({"PowerWatts": {"Reading": null}})), None);
        assert_eq!(watts(supply(&json!({"InputPowerWatts": {"Reading": 105}}))), Some(105.0));
    }

    #[test]
    fn what_power_is_worth() {
        let shown = |watts: &[f64]| -> Vec<Shown> {
            watts.iter().map(|watts| Shown { watts: *watts, signs: vec![], time: None }).collect()
        };
        for (parts, expected) in [
            (&[245.0][..], Ok(245_000_000)),
            (&[120.25, 130.5], Ok(250_750_000)),
            (&[120.0, 0.0], Ok(120_000_000)),
            (&[0.0], Err(Fault::OutOfRange)),
            (&[], Err(Fault::OutOfRange)),
            (&[300.0, -20.0], Err(Fault::OutOfRange)),
            (&[100_001.0], Err(Fault::OutOfRange)),
        ] {
            assert_eq!(power(&shown(parts)).map(MicroWatts::get), expected, "{parts:?}");
        }
    }

    #[test]
    fn a_chassis_has_a_name() {
        assert_eq!(name(&json!({"Id": "System.Embedded.1"}), "/redfish/v1/Chassis/x"), "System.Embedded.1");
        assert_eq!(name(&json!({}), "/redfish/v1/Chassis/1/"), "1");
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let Some(value) = parse(&bytes) else { return Ok(()) };
            let _ = (environment(&value), control(&value), supply(&value), members(&value), number(&value));
        }
    }
}
