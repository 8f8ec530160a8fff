//! A folder with a copy of the library and its scenario: a machine's GPUs, for one test.

use crate::scenario::{CALLS, Device, LIBRARY, Scenario};
use std::path::{Path, PathBuf};

/// Lays a copy of the library into this folder.
///
/// # Panics
/// The library was not built beside this test, or the folder cannot be written.
pub fn lay_library(folder: &Path) {
    let own = std::env::current_exe().expect("a test knows itself");
    let built = own.parent().expect("in a folder").join("libnvml_stand_in.so");
    let copied = std::fs::copy(&built, folder.join(LIBRARY));
    copied.unwrap_or_else(|error| panic!("copying {}: {error}", built.display()));
}

/// The GPUs of one test.
#[derive(Debug)]
pub struct Board {
    folder: PathBuf,
    /// What the library answers from the next [`Board::show`] on.
    pub scenario: Scenario,
}

impl Board {
    /// Lays a copy of the library into this folder, which must be there, with a scenario of these devices.
    ///
    /// # Panics
    /// The library was not built beside this test, or the folder cannot be written.
    #[must_use]
    pub fn new(folder: &Path, devices: Vec<Device>) -> Board {
        lay_library(folder);
        let board =
            Board { folder: folder.to_owned(), scenario: Scenario { devices, ..Scenario::default() } };
        board.show();
        board
    }

    /// The same GPUs, numbered from 0.
    #[must_use]
    pub fn of(folder: &Path, count: u32) -> Board {
        Board::new(folder, (0..count).map(Device::numbered).collect())
    }

    /// The copy.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.folder.join(LIBRARY)
    }

    /// Where it stands.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The library answers by the scenario from now on.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn show(&self) {
        self.scenario.write(&self.folder).expect("the scenario can be written");
    }

    /// Changes the scenario and shows it.
    pub fn change(&mut self, change: impl FnOnce(&mut Scenario)) {
        change(&mut self.scenario);
        self.show();
    }

    /// The calls since this was last asked: function and device.
    #[must_use]
    pub fn calls(&self) -> Vec<(String, String)> {
        let path = self.folder.join(CALLS);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::OpenOptions::new().write(true).truncate(true).open(&path);
        let line = |line: &str| line.split_once(' ').map(|(call, on)| (call.to_owned(), on.to_owned()));
        text.lines().filter_map(line).collect()
    }
}
