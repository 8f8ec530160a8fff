//! Where the machine stands, where the user does not say it: what its cloud says, else its node's labels, else
//! the address that it is seen under if the user wants that asked, else the world.
//!
//! Nobody is asked without a reason: a metadata service only where the firmware says that the machine stands
//! in that cloud, a third party only where the user names one.

pub mod address;
pub mod firmware;
pub mod labels;
pub mod metadata;

use super::regions::{self, Region};
use crate::clock;
use crate::model::grid::Place;
use crate::model::identity::Name;
use crate::model::quantity::Pue;
use crate::model::reading::Fault;
use crate::model::snapshot::SourceState;
use firmware::Firmware;
use labels::{Labels, Match};
use metadata::Endpoints;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The zone of who stands nobody knows where.
pub const NOWHERE: &str = "WORLD";

/// What the place's source is called if nothing was found.
pub const NOBODY: &str = "none";

/// Who may be asked, and what is known beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whether a cloud's metadata service may be asked.
    pub metadata: bool,
    /// The cloud, as the user says; else the firmware is asked.
    pub cloud: Option<String>,
    /// The node's labels, from the environment.
    pub labels: Labels,
    /// A file with more of them, of a downwardAPI volume.
    pub labels_file: Option<PathBuf>,
    /// Who tells which country our address is in; mostly nobody.
    pub address: Option<String>,
    /// Whether the PUE that a region or a provider publishes is taken.
    pub pue: bool,
    /// Where sysfs is.
    pub sysfs: PathBuf,
    /// Where the metadata services are.
    pub endpoints: Endpoints,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish {
            metadata: true,
            cloud: None,
            labels: Labels::default(),
            labels_file: None,
            address: None,
            pue: true,
            sysfs: PathBuf::from("/sys"),
            endpoints: Endpoints::default(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The place; `WORLD`, from `none`, if there is none.
    pub place: Place,
    /// What is published of the buildings there: what is used where the user gives none.
    pub pue: Option<Pue>,
    /// What found it, or what could have and did not.
    pub sources: Vec<SourceState>,
}

impl Found {
    /// Whether it is worth looking again later: somebody was asked who did not answer.
    #[must_use]
    pub fn may_change(&self) -> bool {
        &*self.place.source == NOBODY && self.sources.iter().any(|source| source.fault.is_some())
    }

    /// Whether nothing was found, or a region that is in no grid that we know.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        &*self.place.zone == NOWHERE
    }

    /// Nothing was found within this time.
    #[must_use]
    pub fn too_late(after: Duration) -> Found {
        let message = format!(
            "no answer within {} s (set zone, or turn off who is asked, in grid.location)",
            after.as_secs()
        );
        nowhere(None, Some((Fault::Timeout, message)))
    }

    /// One warning, if there is a reason, with the way out.
    pub fn warn(&self) {
        if !self.is_nowhere() {
            return;
        }
        match self.sources.iter().find(|source| source.fault.is_some()) {
            Some(source) => tracing::warn!(
                "where this machine is cannot be found out: {}; the world's average is used, or the place that was known before",
                source.detail
            ),
            None => tracing::warn!(
                "where this machine is nobody says: the world's average is used (set zone, for instance --zone FR)"
            ),
        }
    }
}

/// The place as the user says it: nobody is asked.
#[must_use]
pub fn configured(zone: &str) -> Found {
    Found { place: place(zone, "config", "", ""), pue: None, sources: Vec::new() }
}

/// Looks, within 10 s and some; what stays unknown is told in one warning with the way out.
pub async fn locate(wish: &Wish) -> Found {
    let found = seek(wish).await;
    found.warn();
    found
}

/// The same without a word, for who has looked before.
pub async fn seek(wish: &Wish) -> Found {
    let cloud = wish.cloud.clone().or_else(|| Firmware::read(&wish.sysfs).cloud().map(str::to_owned));
    let mut hidden: Option<(Fault, String)> = None;
    if let Some(cloud) = cloud.as_deref().filter(|cloud| wish.metadata && metadata::has_one(cloud)) {
        match metadata::region(cloud, &wish.endpoints).await {
            Ok(told) => {
                let detail = format!("{cloud} {} by {}", told.region, told.how);
                return in_region(wish, cloud, &told.region, cloud, &detail);
            }
            Err(why) => hidden = Some((why.fault, why.message)),
        }
    }
    let labels = read_labels(wish, &mut hidden).await;
    if let Some(found) = by_labels(wish, &labels, cloud.as_deref(), &mut hidden) {
        return found;
    }
    if let Some(url) = &wish.address {
        match address::country(url).await {
            Ok(zone) => {
                let detail = format!("{zone} by the address that we are seen under");
                return Found {
                    place: place(&zone, "address", cloud.as_deref().unwrap_or_default(), ""),
                    pue: None,
                    sources: vec![state(None, &detail)],
                };
            }
            Err(why) => hidden = hidden.or(Some(why)),
        }
    }
    nowhere(cloud.as_deref(), hidden)
}

/// The same, for who does nothing else meanwhile.
///
/// # Errors
/// This process has no descriptors left.
pub fn locate_at_once(wish: &Wish) -> io::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(locate(wish));
    // A name server or a disk that hangs is not waited for.
    runtime.shutdown_background();
    Ok(found)
}

/// Those of the environment and of the file. The file may lie on a disk that hangs: others go on meanwhile.
async fn read_labels(wish: &Wish, hidden: &mut Option<(Fault, String)>) -> Labels {
    let Some(path) = wish.labels_file.clone() else { return wish.labels.clone() };
    let name = path.display().to_string();
    let labels = wish.labels.clone();
    let read = tokio::task::spawn_blocking(move || labels.with_file(&path)).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(labels) => labels,
        Err(error) => {
            let message =
                format!("reading {name}: {error} (mount the pod's labels there, by a downwardAPI volume)");
            *hidden = hidden.take().or(Some((Fault::Missing, message)));
            wish.labels.clone()
        }
    }
}

/// `None` without labels; what is wrong with them goes into `hidden`.
fn by_labels(
    wish: &Wish,
    labels: &Labels,
    cloud: Option<&str>,
    hidden: &mut Option<(Fault, String)>,
) -> Option<Found> {
    match labels.find(cloud) {
        Match::Region(row) => {
            let mut detail = format!("{} {} by the node's label", row.cloud, row.region);
            if let Some((_, message)) = hidden {
                detail = format!("{detail}; {message}");
            }
            Some(in_region(wish, &row.cloud, &row.region, "node_label", &detail))
        }
        Match::Several(clouds) => {
            let label = labels.region.as_ref().or(labels.zone.as_ref()).map_or("", String::as_str);
            let message = format!(
                "the node's label says {label:?}, which {} have (set grid.location.provider to one of them)",
                clouds.join(" and ")
            );
            *hidden = hidden.take().or(Some((Fault::Malformed, message)));
            None
        }
        // Labels of a user's own, as of racks, are no fault.
        Match::Unknown(label) => {
            let cloud = cloud?;
            Some(in_region(
                wish,
                cloud,
                &label,
                "node_label",
                &format!("{cloud} {label} by the node's label"),
            ))
        }
        Match::Unlabelled => None,
    }
}

/// A region that the table does not know is in no grid that we know.
fn in_region(wish: &Wish, cloud: &str, region: &str, source: &str, detail: &str) -> Found {
    let row: Option<Region> = regions::find(cloud, region);
    let zone = row.as_ref().map_or(NOWHERE, |row| row.zone.as_str());
    let pue = row.as_ref().and_then(|row| row.pue.as_ref()).map(|figure| figure.pue).filter(|_| wish.pue);
    let told = match &row {
        Some(_) => state(None, detail),
        None => {
            state(Some(Fault::Unsupported), &format!("{detail}, which is in no table of ours (set zone)"))
        }
    };
    Found { place: place(zone, source, cloud, region), pue, sources: vec![told] }
}

fn nowhere(cloud: Option<&str>, hidden: Option<(Fault, String)>) -> Found {
    let sources = hidden.iter().map(|(fault, message)| state(Some(*fault), message)).collect();
    Found { place: place(NOWHERE, NOBODY, cloud.unwrap_or_default(), ""), pue: None, sources }
}

fn place(zone: &str, source: &str, cloud: &str, region: &str) -> Place {
    let name = |text: &str| -> Name { text.into() };
    Place { zone: name(zone), source: name(source), cloud: name(cloud), region: name(region) }
}

fn state(fault: Option<Fault>, detail: &str) -> SourceState {
    SourceState {
        source: "location".into(),
        hw_id: "".into(),
        fault,
        last_success: fault.is_none().then(|| clock::now().wall),
        errors: fault.map(|fault| (fault, 1)).into_iter().collect(),
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests;
