//! The exporter on a made-up machine, with folders and a port that outlive it.

use crate::machine::{Machine, Truth};
use crate::page::Page;
use crate::rig::{Exporter, Setup, free_address};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const CONFIG: &str = "zone: FR\nidle: {floor_watts: {package-0: 5}}\n";

/// Twenty ticks a second: more commits, and more chances to be killed in one.
const ARGUMENTS: [&str; 4] = ["--test.tick", "50", "--host.name", "made-up"];

/// Everything an exporter leaves behind.
pub(crate) struct Bed {
    pub(crate) machine: Arc<Machine>,
    pub(crate) home: TempDir,
    pub(crate) address: SocketAddr,
    sysfs: PathBuf,
    procfs: PathBuf,
    cgroupfs: PathBuf,
}

impl Bed {
    /// A machine with so many jobs, whose meters alone move.
    pub(crate) fn new(seed: u64, jobs: usize) -> Bed {
        let machine = Arc::new(Machine::new(seed, jobs));
        Bed {
            sysfs: machine.sysfs(),
            procfs: machine.procfs(),
            cgroupfs: machine.cgroupfs(),
            machine,
            home: tempfile::tempdir().expect("a temporary folder"),
            address: free_address(),
        }
    }

    /// How an exporter is started here.
    pub(crate) fn setup(&self) -> Setup<'_> {
        Setup {
            sysfs: Some(&self.sysfs),
            procfs: Some(&self.procfs),
            cgroupfs: Some(&self.cgroupfs),
            config: CONFIG,
            arguments: &ARGUMENTS,
            home: Some(self.home.path()),
            address: Some(self.address),
            ..Setup::default()
        }
    }

    /// Starts one and waits until it is ready. The meters move meanwhile, so that they are found.
    pub(crate) fn start(&self) -> Exporter {
        self.start_as(&self.setup())
    }

    /// The same in another way.
    pub(crate) fn start_as(&self, setup: &Setup<'_>) -> Exporter {
        self.machine.pulse();
        Exporter::start(setup)
    }

    /// Stops the machine, and reads what is then shown.
    pub(crate) fn settle(&self, exporter: &Exporter) -> (Page, Truth) {
        let truth = self.machine.freeze();
        (exporter.next_page(), truth)
    }

    /// Lets everything run for a while, and stops it.
    pub(crate) fn live(&self, exporter: &Exporter) -> (Page, Truth) {
        self.machine.run(None);
        std::thread::sleep(std::time::Duration::from_millis(300));
        self.settle(exporter)
    }

    /// The store's folder.
    pub(crate) fn store(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// The store's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.store().join("jouleprint.db")
    }

    /// The folder of what does not outlive the boot.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// The names of what is in the store's folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store()).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The files of a folder; a socket is none.
pub(crate) fn files(folder: &Path) -> impl Iterator<Item = std::fs::DirEntry> {
    let entries = std::fs::read_dir(folder).expect("it is there").flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
}

/// Copies a folder of files.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in files(from) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Removes a folder's files, and leaves it.
pub(crate) fn empty_folder(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
        std::fs::remove_file(entry.path()).expect("removed");
    }
}
