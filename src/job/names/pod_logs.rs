//! Pods by the names of their log directories: `NAMESPACE_NAME_UID`. Neither a namespace nor a pod's name
//! can hold a `_`. No log is opened.

use super::{Look, NameSource, SourceName, Wanted, Word};
use crate::job::kubernetes::is_pod_uid;
use crate::model::description::{Attribute, Description};
use crate::model::identity::{JobId, JobKind};
use crate::model::reading::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// Directories that are looked at; a node has 110 pods, and the dead ones' are removed.
const MAX_ENTRIES: usize = 100_000;

/// Longer than a namespace or a pod's name may be.
const MAX_NAME_BYTES: usize = 253;

/// The directory of the directories.
#[derive(Debug)]
pub struct PodLogs(pub PathBuf);

impl NameSource for PodLogs {
    const NAME: SourceName = SourceName::PodLogs;
    const REST: Duration = Duration::from_secs(1);
    // A pod's name is for ever.
    const REFRESH: Option<Duration> = None;

    async fn look(&mut self, _: &[JobId], all: &Wanted) -> Look {
        let detail = self.0.display().to_string();
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) => return Look::failed(Fault::from(&error), detail),
        };
        let names =
            entries.take(MAX_ENTRIES).flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let words = names.filter_map(|name| {
            let (namespace, pod, uid) = parse(&name)?;
            let id = JobId::new(JobKind::Pod, uid);
            let mut description = Description::default();
            description.set(Attribute::Namespace, namespace);
            description.set(Attribute::Pod, pod);
            let word = Word { description, is_last: true, ..Word::default() };
            all.contains_key(&id).then_some((id, word))
        });
        Look { words: words.collect(), outcome: Ok(()), detail, pods: None }
    }
}

/// Namespace, name and UID.
#[must_use]
pub fn parse(directory: &str) -> Option<(&str, &str, &str)> {
    let mut parts = directory.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name = |text: &str| {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
    };
    let is_whole = parts.next().is_none() && is_name(namespace) && is_name(pod) && is_pod_uid(uid);
    is_whole.then_some((namespace, pod, uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::{look, wanted};
    use std::fs;

    const UID: &str = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015";

    #[test]
    fn directories_name_their_pods_and_nothing_else_does() {
        for (name, expected) in [
            (format!("default_web-0_{UID}"), Some(("default", "web-0", UID))),
            (format!("kube-system_etcd-n1.local_{HASH}"), Some(("kube-system", "etcd-n1.local", HASH))),
            (format!("default_web_0_{UID}"), None),
            (format!("web-0_{UID}"), None),
            (format!("_web-0_{UID}"), None),
            (format!("Default_web-0_{UID}"), None),
            (format!("default_{}_{UID}", "x".repeat(300)), None),
            ("default_web-0_x".to_owned(), None),
            ("default_web-0_".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&name), expected, "{name}");
        }
    }

    #[test]
    fn those_that_are_asked_for_are_found_among_ten_thousand_and_beside_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..10_000 {
            let uid = format!("00000000-0000-4000-8000-{number:012x}");
            fs::create_dir(folder.path().join(format!("ns-{}_pod-{number}_{uid}", number % 7)))
                .expect("made");
        }
        fs::write(folder.path().join(format!("default_file_{UID}")), "a log").expect("written");
        std::os::unix::fs::symlink(folder.path(), folder.path().join(format!("a_loop_{HASH}")))
            .expect("linked");
        let id = "00000000-0000-4000-8000-000000000010";
        let all = wanted(&[("pod", id), ("pod", HASH), ("unit", "a.service")]);
        let found = look(&mut PodLogs(folder.path().to_owned()), &all);
        let mut names: Vec<&str> =
            found.words.iter().map(|word| word.1.description.get(Attribute::Pod)).collect();
        names.sort_unstable();
        assert_eq!(names, ["loop", "pod-16"]);
        assert_eq!(found.outcome, Ok(()));
    }

    #[test]
    fn without_the_directory_it_is_told_that_it_is_missing() {
        let found = look(&mut PodLogs("/nowhere/pods".into()), &wanted(&[("pod", UID)]));
        assert_eq!((found.words.len(), found.outcome), (0, Err(Fault::Missing)));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let found = look(&mut PodLogs(file.path().to_owned()), &wanted(&[("pod", UID)]));
        assert_eq!(found.outcome, Err(Fault::Io));
    }
}
