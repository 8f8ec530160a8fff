//! The node's labels `topology.kubernetes.io/region` and `/zone`, as the downward API hands them to a pod:
//! in the environment, or in a file that holds all labels of the pod.

use crate::carbon::regions::{self, Region};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The labels of a pod are a few kB.
const MAX_FILE_BYTES: u64 = 256 << 10;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What the node says of its place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The region.
    pub region: Option<String>,
    /// The zone within it.
    pub zone: Option<String>,
}

/// What the labels come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// A region of the table.
    Region(Box<Region>),
    /// Several clouds have such a region.
    Several(Vec<String>),
    /// None has, as far as is known: with the label's text.
    Unknown(String),
    /// The node has no label.
    Unlabelled,
}

impl Labels {
    /// What a file of a downwardAPI volume adds: lines of `key="value"`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn with_file(mut self, path: &Path) -> io::Result<Labels> {
        let mut text = String::new();
        // Opening a pipe waits for who writes into it, and a device may never end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            // Label values have no quotation marks or backslashes of their own.
            let value = value.trim().trim_matches('"');
            match key.trim() {
                REGION if !value.is_empty() => self.region = Some(value.to_owned()),
                ZONE if !value.is_empty() => self.zone = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(self)
    }

    /// The region that they name, at the given cloud or at the only one that has it.
    #[must_use]
    pub fn find(&self, cloud: Option<&str>) -> Match {
        let Some(label) = self.region.as_deref().or(self.zone.as_deref()) else { return Match::Unlabelled };
        let mut candidates: Vec<&str> = self.region.as_deref().into_iter().collect();
        if let Some(zone) = self.zone.as_deref() {
            candidates.extend(regions_of_zone(zone));
        }
        for candidate in candidates {
            let is_it = |row: &Region| row.region.eq_ignore_ascii_case(candidate);
            let mut found: Vec<Region> = regions::rows()
                .filter(|row| cloud.is_none_or(|cloud| row.cloud == cloud) && is_it(row))
                .collect();
            match found.len() {
                0 => {}
                1 => return Match::Region(Box::new(found.swap_remove(0))),
                _ => return Match::Several(found.into_iter().map(|row| row.cloud).collect()),
            }
        }
        Match::Unknown(label.to_owned())
    }
}

/// A zone is called after its region: `eu-west-3a`, `europe-west9-a`, `westeurope-1`.
fn regions_of_zone(zone: &str) -> impl Iterator<Item = &str> {
    let before_dash = zone.rsplit_once('-').map(|(region, _)| region);
    let before_letter = zone.strip_suffix(|last: char| last.is_ascii_lowercase());
    [Some(zone), before_letter, before_dash].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_matched_with_the_cloud_or_with_the_only_one_that_fits() {
        for (region, zone, cloud, expected) in [
            ("eu-west-3", "eu-west-3b", None, "aws eu-west-3"),
            ("", "eu-west-3b", None, "aws eu-west-3"),
            ("", "europe-west9-a", Some("gcp"), "gcp europe-west9"),
            ("", "westeurope-1", Some("azure"), "azure westeurope"),
            ("eu-central-1", "", Some("alibaba_cloud"), "alibaba_cloud eu-central-1"),
            ("eu-central-1", "", None, "several alibaba_cloud aws"),
            ("fsn1", "fsn1-dc14", None, "hetzner fsn1"),
            ("eu-west-3", "", Some("gcp"), "unknown eu-west-3"),
            ("rack-7", "row-2", None, "unknown rack-7"),
            ("", "", None, "unlabelled"),
        ] {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let found = match (Labels { region: text(region), zone: text(zone) }).find(cloud) {
                Match::Region(row) => format!("{} {}", row.cloud, row.region),
                Match::Several(clouds) => format!("several {}", clouds.join(" ")),
                Match::Unknown(label) => format!("unknown {label}"),
                Match::Unlabelled => "unlabelled".to_owned(),
            };
            assert_eq!(found, expected, "{region:?} {zone:?} {cloud:?}");
        }
    }

    #[test]
    fn a_file_of_the_downward_api_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("labels");
        let text = "app=\"x\"\ntopology.kubernetes.io/region=\"eu-west-3\"\ntopology.kubernetes.io/zone=\"\"\n=\nodd\n";
        std::fs::write(&path, text).expect("written");
        let labels = Labels { region: None, zone: Some("eu-west-3a".to_owned()) };
        let read = labels.clone().with_file(&path).expect("read");
        assert_eq!((read.region.as_deref(), read.zone.as_deref()), (Some("eu-west-3"), Some("eu-west-3a")));
        assert!(labels.clone().with_file(Path::new("/nowhere")).is_err());
        assert!(labels.with_file(Path::new("/dev/null")).is_err(), "a device is no file of labels");
    }
}
