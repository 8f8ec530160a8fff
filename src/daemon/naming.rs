//! Who is asked for the jobs' names.

use crate::config::Settings;
use crate::job::directory::Directory;
use crate::job::hierarchy;
use crate::job::names::environment::Reader;

/// The directory of names. What looks into processes starts here, while it still may: see [`Reader`].
pub(super) fn directory(settings: &Settings) -> Directory {
    let wishes = settings.jobs.names(&settings.grouping);
    let reader = if wishes.environment || wishes.visible { reader(settings) } else { None };
    Directory::new(wishes, reader, settings.grouping.clone())
}

fn reader(settings: &Settings) -> Option<Reader> {
    let roots = hierarchy::find(&settings.cgroupfs).ok()?;
    let roots = roots.into_iter().map(|root| (root.hierarchy, root.path)).collect();
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
