//! Who is asked for the jobs' names.

use crate::config::Settings;
use crate::job::directory::Directory;
use crate::job::hierarchy;
use crate::job::names::environment::Reader;
use crate::job::names::owners::Owners;
use crate::model::reading::Hierarchy;
use std::path::PathBuf;

/// The directory of names. What looks into processes starts here, while it still may: see [`Reader`].
pub(super) fn directory(settings: &Settings) -> Directory {
    let mut wishes = settings.jobs.names(&settings.grouping);
    let roots = hierarchy::find(&settings.cgroupfs).ok();
    let roots: Option<Vec<(Hierarchy, PathBuf)>> =
        roots.map(|roots| roots.into_iter().map(|root| (root.hierarchy, root.path)).collect());
    wishes.users.owners = roots.clone().map(|roots| Owners { procfs: settings.procfs.clone(), roots });
    let asks_environment = wishes.environment || wishes.visible;
    let reader = roots.filter(|_| asks_environment).and_then(|roots| reader(settings, roots));
    Directory::new(wishes, reader, settings.grouping.clone())
}

fn reader(settings: &Settings, roots: Vec<(Hierarchy, PathBuf)>) -> Option<Reader> {
    match Reader::start(&settings.procfs, roots) {
        Ok(reader) => Some(reader),
        Err(error) => {
            tracing::warn!(
                "no thread for the environment of jobs: {error}; of Slurm's scontrol is asked alone"
            );
            None
        }
    }
}
