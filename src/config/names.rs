//! Where names of jobs are looked for, and by what jobs are grouped.

use super::jobs::Jobs;
use crate::http_client;
use crate::job::grouping::{Grouping, Kind, Origin};
use crate::job::names::containers::Places;
use crate::job::names::{Wishes, kubelet, slurm, users};
use crate::model::identity::{JobKind, Name};
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a service account is given in every pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The kubelet's port.
const KUBELET_PORT: u16 = 10250;

/// Labels that are asked for at the most: so many are kept of a pod.
const MAX_LABELS: usize = 16;

/// Of Slurm's program no more places than this are looked at.
const MAX_PATHS: usize = 64;

/// `jobs.kubernetes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSection {
    logs: Place,
    pod_resources: Place,
    kubelet: KubeletChoice,
    token: Option<PathBuf>,
    ca: Option<PathBuf>,
    labels: Vec<String>,
}

/// `jobs.containers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainersSection {
    docker: Option<PathBuf>,
    storage: Option<Vec<PathBuf>>,
    homes: Option<PathBuf>,
    containerd: Option<PathBuf>,
    runc: Option<Vec<PathBuf>>,
}

/// `jobs.users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsersSection {
    passwd: Option<PathBuf>,
    service: Option<Switch>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Pods.
    pub kubernetes: KubernetesSection,
    /// Containers.
    pub containers: ContainersSection,
    /// Slurm's program.
    pub scontrol: Place,
    /// Whether the environment of Slurm's jobs is looked at.
    pub environment: Switch,
    /// Whether that of other jobs is, for the accelerators that it names.
    pub gpu_environment: Switch,
    /// Users.
    pub users: UsersSection,
}

/// Where something is: found by itself, not wanted, or here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// In the usual place, if it is there.
    #[default]
    Auto,
    /// It is not used.
    Off,
    /// There.
    At(PathBuf),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Place::Auto),
            "off" => Ok(Place::Off),
            path if path.starts_with('/') => Ok(Place::At(path.into())),
            _ => Err(de::Error::custom(format!("{text:?} is no place (write auto, off or a path from /)"))),
        }
    }
}

impl Place {
    fn or(&self, usual: &str) -> Option<PathBuf> {
        match self {
            Place::Auto => Some(usual.into()),
            Place::Off => None,
            Place::At(path) => Some(path.clone()),
        }
    }
}

/// Used where it can be, or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// If it is there.
    #[default]
    Auto,
    /// Never.
    Off,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum KubeletChoice {
    #[default]
    Auto,
    Off,
    At(String),
}

impl<'de> Deserialize<'de> for KubeletChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(KubeletChoice::Auto),
            "off" => Ok(KubeletChoice::Off),
            // The token must not go over a line that anybody can read.
            url if url.starts_with("https://") && http_client::url(url).is_ok() => {
                Ok(KubeletChoice::At(text))
            }
            _ => Err(de::Error::custom(format!(
                "{text:?} is no kubelet (write auto, off or https://node:{KUBELET_PORT})"
            ))),
        }
    }
}

impl Jobs {
    /// Which sources of names are asked, as things stand on this machine.
    #[must_use]
    pub fn names(&self, grouping: &Grouping) -> Wishes {
        let has = |kind| self.kinds.contains(&kind);
        let names = &self.names;
        let clusters = self.clusters();
        let scontrol = if has(JobKind::Slurm) { scontrol(&names.scontrol) } else { None };
        let is_slurm_here = scontrol.is_some() || clusters.default.is_some() || !clusters.of_node.is_empty();
        Wishes {
            pod_logs: names.kubernetes.logs.or("/var/log/pods").filter(|_| has(JobKind::Pod)),
            pod_resources: names
                .kubernetes
                .pod_resources
                .or("/var/lib/kubelet/pod-resources")
                .filter(|_| has(JobKind::Pod)),
            kubelet: names.kubernetes.kubelet(grouping).filter(|_| has(JobKind::Pod)),
            containers: has(JobKind::Container).then(|| names.containers.places()),
            environment: has(JobKind::Slurm) && is_slurm_here && names.environment == Switch::Auto,
            visible: names.gpu_environment == Switch::Auto,
            scontrol: scontrol.map(|program| slurm::Wish { program, cluster: clusters.default }),
            users: names.users.wish(),
        }
    }
}

impl KubernetesSection {
    /// The folders of the kubelet's that were named, with the key that names each.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let named =
            [("jobs.kubernetes.logs", &self.logs), ("jobs.kubernetes.pod_resources", &self.pod_resources)];
        named.into_iter().filter_map(|(key, place)| match place {
            Place::At(path) => Some((key, path.as_path())),
            Place::Auto | Place::Off => None,
        })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.labels.len() {
            0..=MAX_LABELS => Ok(()),
            count => Err(format!("jobs.kubernetes.labels: {count} labels are more than {MAX_LABELS}")),
        }
    }

    /// By itself only where a pod has what it takes: a token, and the node's name by the downward API.
    fn kubelet(&self, grouping: &Grouping) -> Option<kubelet::Wish> {
        let token = self.token.clone().unwrap_or_else(|| Path::new(ACCOUNT).join("token"));
        let ca = self.ca.clone().unwrap_or_else(|| Path::new(ACCOUNT).join("ca.crt"));
        let url = match &self.kubelet {
            KubeletChoice::Off => return None,
            KubeletChoice::At(url) => url.clone(),
            KubeletChoice::Auto => {
                let node =
                    std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty() && token.exists())?;
                format!("https://{node}:{KUBELET_PORT}")
            }
        };
        // A pod keeps so many: those that make groups come first.
        let own = self.labels.iter().map(|key| Name::from(key.as_str()));
        let mut labels: Vec<Name> = Vec::new();
        for key in grouping.labels().map(Name::clone).chain(own) {
            if !labels.contains(&key) {
                labels.push(key);
            }
        }
        Some(kubelet::Wish { url, token, ca, labels })
    }
}

impl ContainersSection {
    fn places(&self) -> Places {
        let usual = Places::default();
        Places {
            docker: self.docker.clone().unwrap_or(usual.docker),
            storage: self.storage.clone().unwrap_or(usual.storage),
            homes: self.homes.clone().unwrap_or(usual.homes),
            containerd: self.containerd.clone().unwrap_or(usual.containerd),
            runc: self.runc.clone().unwrap_or(usual.runc),
        }
    }
}

impl UsersSection {
    /// A file of another place is another machine's, of whose users our own name service knows nothing.
    fn wish(&self) -> users::Wish {
        let usual = users::Wish::default();
        users::Wish {
            asks_service: self.passwd.is_none() && self.service.unwrap_or_default() == Switch::Auto,
            passwd: self.passwd.clone().unwrap_or(usual.passwd),
            owners: None,
        }
    }
}

fn scontrol(place: &Place) -> Option<PathBuf> {
    match place {
        Place::Off => None,
        Place::At(path) => Some(path.clone()),
        Place::Auto => {
            let path = std::env::var("PATH").unwrap_or_default();
            let folders = path.split(':').filter(|folder| folder.starts_with('/')).take(MAX_PATHS);
            let usual = ["/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin"];
            let places = folders.chain(usual).map(|folder| Path::new(folder).join("scontrol"));
            places.into_iter().find(|program| program.is_file())
        }
    }
}

/// `groups`: a kind with where its names come from.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct GroupsSection(BTreeMap<String, GroupSection>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSection {
    from: Vec<From>,
    pattern: Option<String>,
}

#[derive(Debug)]
struct From(Origin);

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Origin::of_name(&text).map(From).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is nothing that is known of a job (write label.KEY, or an attribute such as \
                 k8s.namespace.name, slurm.account, user.name, project; docs/jobs.md lists them)"
            ))
        })
    }
}

impl GroupsSection {
    /// Checks everything; the message of an error begins with the key.
    pub(super) fn resolve(self) -> Result<Grouping, String> {
        let kinds = self.0.into_iter().map(|(name, section)| {
            let from = section.from.into_iter().map(|from| from.0).collect();
            Kind::new(&name, from, section.pattern.as_deref())
        });
        let kinds: Result<Vec<Kind>, _> = kinds.collect();
        kinds.and_then(Grouping::with).map_err(|error| format!("groups: {error}"))
    }
}
