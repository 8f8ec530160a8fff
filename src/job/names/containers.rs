//! Containers outside Kubernetes, by what their runtimes keep on disk: Docker, Podman and CRI-O (the library
//! containers/storage), containerd, and runc by itself. No daemon is asked.

use super::{Look, NameSource, SourceName, Wanted, Word, read_bounded};
use crate::model::description::{Attribute, Description};
use crate::model::identity::JobId;
use crate::model::reading::Fault;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One container's state; Docker's largest are some 100 kB of health checks.
const MAX_STATE_BYTES: u64 = 4 << 20;

/// All containers of one storage: 1 kB each.
const MAX_LIST_BYTES: u64 = 32 << 20;

/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 4_096;

/// Where the runtimes keep what they know. What is not there is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Docker's data.
    pub docker: PathBuf,
    /// Folders of containers/storage.
    pub storage: Vec<PathBuf>,
    /// Homes whose own storage is looked at, for containers without root.
    pub homes: PathBuf,
    /// containerd's bundles of its running tasks.
    pub containerd: PathBuf,
    /// States of runc.
    pub runc: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            docker: "/var/lib/docker".into(),
            storage: vec!["/var/lib/containers/storage".into(), "/run/containers/storage".into()],
            homes: "/home".into(),
            containerd: "/run/containerd/io.containerd.runtime.v2.task".into(),
            runc: vec!["/run/runc".into()],
        }
    }
}

/// Looks there.
#[derive(Debug)]
pub struct Containers {
    places: Places,
}

impl Containers {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn new(places: Places) -> Containers {
        Containers { places }
    }
}

/// A container's name and image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it was made from.
    pub image: String,
}

impl NameSource for Containers {
    const NAME: SourceName = SourceName::Containers;
    const REST: Duration = Duration::from_secs(1);
    // A container can be given another name; few ever are.
    const REFRESH: Option<Duration> = None;

    async fn look(&mut self, open: &[JobId], all: &Wanted) -> Look {
        let mut search = Search::default();
        let mut words = Vec::new();
        for id in open {
            let found =
                all.get(id).and_then(|asked| search.find(&self.places, id.id(), &asked.cgroup, asked.user));
            if let Some(named) = found {
                let mut description = Description::default();
                description.set(Attribute::Container, &named.name);
                description.set(Attribute::Image, &named.image);
                words.push((id.clone(), Word { description, is_last: true, ..Word::default() }));
            }
        }
        let outcome = match search.refused {
            _ if search.seen.is_empty() && search.refused.is_none() => Err(Fault::Missing),
            Some(_) if words.len() == open.len() => Ok(()),
            Some(fault) => Err(fault),
            None => Ok(()),
        };
        Look { words, outcome, detail: search.seen.join(", "), pods: None }
    }
}

/// Storage drivers of one storage: there are six kinds, and one is in use.
const MAX_DRIVERS: usize = 8;

/// One look: what lists many is read once.
#[derive(Debug, Default)]
struct Search {
    // Places that are there.
    seen: Vec<String>,
    // Why one that is there could not be read.
    refused: Option<Fault>,
    stored: HashMap<PathBuf, HashMap<String, Named>>,
    runc: Option<Vec<(String, Vec<String>)>>,
}

impl Search {
    fn find(&mut self, places: &Places, id: &str, cgroup: &str, user: Option<u32>) -> Option<Named> {
        let id = id.rsplit('/').next().unwrap_or(id);
        let docker = places.docker.join("containers");
        if let Some(text) = self.read(&docker, &docker.join(id).join("config.v2.json"))
            && let Some(named) = docker_state(&text)
        {
            return Some(named);
        }
        let homes = || {
            let own = |home: PathBuf| home.join(".local/share/containers/storage");
            // Nobody's list but the user's own names his containers.
            let is_his = |home: &PathBuf| fs::metadata(home).is_ok_and(|home| Some(home.uid()) == user);
            list(&places.homes).into_iter().filter(is_his).map(own)
        };
        let storages = places.storage.clone().into_iter().chain(user.into_iter().flat_map(|_| homes()));
        for storage in storages {
            if let Some(named) = self.stored(&storage, id) {
                return Some(named);
            }
        }
        for namespace in list(&places.containerd) {
            if let Some(text) = self.read(&namespace, &namespace.join(id).join("config.json"))
                && let Some(named) = oci_annotations(&text)
            {
                return Some(named);
            }
        }
        let name = self.of_runc(places).iter().find_map(|(name, groups)| {
            let is_it = groups.iter().any(|group| !cgroup.is_empty() && group.ends_with(cgroup));
            is_it.then(|| name.clone())
        })?;
        Some(Named { name, image: String::new() })
    }

    /// Of Podman and CRI-O: each storage driver has a list of its containers.
    fn stored(&mut self, storage: &Path, id: &str) -> Option<Named> {
        if !self.stored.contains_key(storage) {
            let mut all = HashMap::new();
            let drivers = list(storage);
            let is_list = |path: &&PathBuf| path.to_string_lossy().ends_with("-containers");
            for driver in drivers.iter().filter(is_list).take(MAX_DRIVERS) {
                for file in ["containers.json", "volatile-containers.json"] {
                    if let Some(text) = self.read_most(driver, &driver.join(file), MAX_LIST_BYTES) {
                        all.extend(storage_list(&text));
                    }
                }
            }
            self.stored.insert(storage.to_owned(), all);
        }
        self.stored.get(storage)?.get(id).cloned()
    }

    /// The containers of runc, and their groups.
    fn of_runc(&mut self, places: &Places) -> &[(String, Vec<String>)] {
        if self.runc.is_none() {
            let mut all = Vec::new();
            for folder in &places.runc {
                for container in list(folder) {
                    let text = self.read(folder, &container.join("state.json"));
                    all.extend(text.and_then(|text| runc_state(&text)));
                }
            }
            self.runc = Some(all);
        }
        self.runc.as_deref().unwrap_or_default()
    }

    fn read(&mut self, place: &Path, file: &Path) -> Option<Vec<u8>> {
        self.read_most(place, file, MAX_STATE_BYTES)
    }

    fn read_most(&mut self, place: &Path, file: &Path, most: u64) -> Option<Vec<u8>> {
        let read = read_bounded(file, most);
        let is_there = match &read {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => place.is_dir(),
            Err(error) => {
                self.refused = Some(Fault::from(error));
                true
            }
        };
        let place = place.display().to_string();
        if is_there && !self.seen.contains(&place) {
            self.seen.push(place);
        }
        read.ok()
    }
}

/// The folders in a folder.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES).flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[derive(Deserialize)]
struct DockerState {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Config", default)]
    config: DockerConfig,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image", default)]
    image: String,
}

/// Docker's `config.v2.json`.
#[must_use]
pub fn docker_state(text: &[u8]) -> Option<Named> {
    let state: DockerState = serde_json::from_slice(text).ok()?;
    Some(Named { name: state.name.trim_start_matches('/').to_owned(), image: state.config.image })
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    // JSON in a string: what the runtime above the library wants to remember.
    #[serde(default)]
    metadata: Option<String>,
}

#[derive(Default, Deserialize)]
struct StoredMetadata {
    #[serde(rename = "image-name", default)]
    image: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "container-name", default)]
    container_name: String,
}

/// The list of containers/storage, by id.
#[must_use]
pub fn storage_list(text: &[u8]) -> HashMap<String, Named> {
    let list: Vec<Stored> = serde_json::from_slice(text).unwrap_or_default();
    let named = list.into_iter().map(|stored| {
        let metadata = stored.metadata.and_then(|text| serde_json::from_str::<StoredMetadata>(&text).ok());
        let metadata = metadata.unwrap_or_default();
        let first = stored.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let mut names = [metadata.container_name, metadata.name, first].into_iter();
        let name = names.find(|name| !name.is_empty()).unwrap_or_default();
        (stored.id, Named { name, image: metadata.image })
    });
    named.collect()
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The `config.json` of a bundle, whose annotations are those of nerdctl, containerd's CRI or CRI-O.
#[must_use]
pub fn oci_annotations(text: &[u8]) -> Option<Named> {
    let bundle: Bundle = serde_json::from_slice(text).ok()?;
    let annotations = bundle.annotations.unwrap_or_default();
    let first =
        |keys: &[&str]| keys.iter().find_map(|key| annotations.get(*key)).cloned().unwrap_or_default();
    let name =
        first(&["nerdctl/name", "io.kubernetes.cri.container-name", "io.kubernetes.cri-o.ContainerName"]);
    let image = first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    (!name.is_empty() || !image.is_empty()).then_some(Named { name, image })
}

#[derive(Deserialize)]
struct RuncState {
    id: String,
    #[serde(default)]
    cgroup_paths: BTreeMap<String, String>,
}

/// runc's `state.json`: its id, and its groups.
#[must_use]
pub fn runc_state(text: &[u8]) -> Option<(String, Vec<String>)> {
    let state: RuncState = serde_json::from_slice(text).ok()?;
    Some((state.id, state.cgroup_paths.into_values().filter(|path| !path.is_empty()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::{look, wanted};

    const ID: &str = "3f4e1c0d9b8a7f6e5d4c3b2a190817263544f3e2d1c0b9a8f7e6d5c4b3a29180";
    const OTHER: &str = "0f4e1c0d9b8a7f6e5d4c3b2a190817263544f3e2d1c0b9a8f7e6d5c4b3a29180";

    fn named(name: &str, image: &str) -> Named {
        Named { name: name.to_owned(), image: image.to_owned() }
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn places(root: &Path) -> Places {
        Places {
            docker: root.join("docker"),
            storage: vec![root.join("storage")],
            homes: root.join("home"),
            containerd: root.join("containerd"),
            runc: vec![root.join("runc")],
        }
    }

    #[test]
    fn each_runtime_s_own_state_names_its_containers() {
        let docker = r#"{"ID":"x","Name":"/web","Config":{"Image":"nginx:1.27","Env":["A=1"]},"State":{}}"#;
        assert_eq!(docker_state(docker.as_bytes()), Some(named("web", "nginx:1.27")));
        let stored = format!(
            r#"[{{"id":"{ID}","names":["load"],"image":"sha","metadata":"{{\"image-name\":\"local/load:1\",\"name\":\"load\"}}"}},
                {{"id":"{OTHER}","names":null}}]"#
        );
        let list = storage_list(stored.as_bytes());
        assert_eq!(
            (list[ID].clone(), list[OTHER].clone()),
            (named("load", "local/load:1"), Named::default())
        );
        let crio = r#"[{"id":"a","names":["k8s_c_p"],"metadata":"{\"container-name\":\"c\",\"image-name\":\"i\"}"}]"#;
        assert_eq!(storage_list(crio.as_bytes())["a"], named("c", "i"));
        let nerdctl =
            r#"{"ociVersion":"1","annotations":{"nerdctl/name":"n1","io.kubernetes.cri.image-name":"i"}}"#;
        assert_eq!(oci_annotations(nerdctl.as_bytes()), Some(named("n1", "i")));
        assert_eq!(oci_annotations(br#"{"ociVersion":"1"}"#), None);
        let runc = r#"{"id":"c1","cgroup_paths":{"cpuacct":"/sys/fs/cgroup/cpuacct/a/b","freezer":""}}"#;
        let expected = ("c1".to_owned(), vec!["/sys/fs/cgroup/cpuacct/a/b".to_owned()]);
        assert_eq!(runc_state(runc.as_bytes()), Some(expected));
        for garbage in [&b""[..], b"[]", b"{", b"\xff\xff", b"{\"Name\":3}", b"null", b"[[[[[["] {
            let _ = (docker_state(garbage), oci_annotations(garbage), runc_state(garbage));
            assert!(storage_list(garbage).is_empty());
        }
    }

    #[test]
    fn containers_are_found_where_their_runtime_keeps_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let found = |all: &Wanted| {
            let look = look(&mut Containers::new(places(root)), all);
            let name = look.words.first().map(|word| word.1.description.get(Attribute::Container).to_owned());
            (name, look.outcome)
        };
        let all = wanted(&[("container", ID)]);
        assert_eq!(found(&all), (None, Err(Fault::Missing)), "no runtime is here");
        // Listed first, so that each is the first that knows it.
        write(root.join("runc/c1/state.json"), r#"{"id":"c1","cgroup_paths":{"":"/sys/fs/cgroup/x"}}"#);
        write(root.join("runc/odd/state.json"), "{");
        assert_eq!(found(&all), (Some("c1".into()), Ok(())));
        let bundle = root.join("containerd/default").join(ID).join("config.json");
        write(bundle, r#"{"annotations":{"nerdctl/name":"n1"}}"#);
        assert_eq!(found(&all), (Some("n1".into()), Ok(())));
        let list = root.join("storage/vfs-containers/containers.json");
        write(list.clone(), &format!(r#"[{{"id":"{ID}","names":["p1"]}}]"#));
        assert_eq!(found(&all), (Some("p1".into()), Ok(())));
        let state = root.join("docker/containers").join(ID).join("config.v2.json");
        write(state.clone(), r#"{"Name":"/d1"}"#);
        assert_eq!(found(&all), (Some("d1".into()), Ok(())));
        // What cannot be read is told, and the others are asked all the same.
        fs::remove_file(&state).expect("removed");
        fs::create_dir(&state).expect("made");
        assert_eq!(found(&all), (Some("p1".into()), Ok(())));
        fs::remove_file(&list).expect("removed");
        fs::remove_dir_all(root.join("runc")).expect("removed");
        fs::remove_dir_all(root.join("containerd")).expect("removed");
        assert_eq!(found(&all), (None, Err(Fault::Malformed)));
        std::os::unix::fs::symlink(root, root.join("home")).expect("a loop");
        assert_eq!(found(&all).0, None);
    }
}
