//! What the user knows of the hardware, as the file has it.

use super::Parsed;
use super::names::Switch;
use crate::model::quantity::{DecimalError, parse_share};
use crate::source::estimate;
use crate::source::hwmon::table::Row;
use serde::{Deserialize, Deserializer, de};

/// `provider/type`, as in data/instance_types.csv.
#[derive(Debug, Clone)]
pub(super) struct InstanceType(pub(super) String);

impl<'de> Deserialize<'de> for InstanceType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if estimate::knows_instance(&text) {
            return Ok(InstanceType(text));
        }
        Err(de::Error::custom(format!(
            "{text:?} is no known instance type (write provider/type, such as aws/c5.large; see data/instance_types.csv)"
        )))
    }
}

/// `estimate`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EstimateSection {
    gpu: Switch,
    gpu_utilization: Option<Parsed<Share>>,
}

/// A share, in ppm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(pub(super) u32);

impl Share {
    pub(super) fn parse(text: &str) -> Result<Share, DecimalError> {
        parse_share(text).map(Share)
    }
}

impl EstimateSection {
    /// How accelerators are estimated.
    pub(super) fn gpu(&self) -> estimate::gpu::Wish {
        let usual = estimate::gpu::Wish::default();
        estimate::gpu::Wish {
            is_on: self.gpu == Switch::Auto,
            utilization_ppm: self.gpu_utilization.map_or(usual.utilization_ppm, |share| share.0.0),
        }
    }
}

/// A sensor of the hwmon class, as a row of data/hwmon.csv.
#[derive(Debug, Clone)]
pub(super) struct Sensor(pub(super) Row);

impl<'de> Deserialize<'de> for Sensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let row = Row::deserialize(deserializer)?;
        if row.covers("").is_none() {
            let scope = &row.scope;
            return Err(de::Error::custom(format!(
                "{scope:?} is no scope (give node, module, leaf, beside or inside:ID)"
            )));
        }
        Ok(Sensor(row))
    }
}
