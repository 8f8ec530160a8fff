//! One process a folder: the kernel's own lock on a file, which ends with its holder however that ends.
//! What stands in the file only names the holder to people.

use super::trouble::{Failure, StoreError};
use crate::model::identity::Name;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "lock";

/// Jobs' names are nobody's business but the administrators'.
const FOLDER_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// A holder's line is shorter; whatever else is in the file is not read.
const MAX_HOLDER_BYTES: u64 = 4096;

/// Who holds a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// The kernel's boot id.
    pub boot: Name,
    /// The host label.
    pub host: Name,
}

/// The right to write into a folder, for as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    // Closing it gives the lock back.
    _file: File,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the store {} is in use by {} (stop that one, or choose another folder by --store.path)",
        folder.display(), name_of(holder.as_ref())
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who, if the file says so.
        holder: Option<Holder>,
    },
    /// The folder cannot be made or written; one can do without it, in memory.
    #[error(transparent)]
    Unusable(#[from] StoreError),
}

fn name_of(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!("process {} of host {}", holder.pid, holder.host),
        None => "an unknown process".to_owned(),
    }
}

impl Lock {
    /// Takes the folder for this process, and makes it first if it is not there. Waits for nobody.
    ///
    /// # Errors
    /// Another process has it, or it cannot be made or written.
    pub fn take(folder: &Path, holder: &Holder) -> Result<Lock, LockError> {
        let failed = |operation, path: &Path, error: io::Error| {
            LockError::Unusable(Failure::Io(error).during(operation, path))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(|error| failed("creating the folder", folder, error))?;
        let path = folder.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| failed("opening", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { folder: folder.to_owned(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed("locking", &path, error)),
        }
        write_holder(&mut file, holder).map_err(|error| failed("writing", &path, error))?;
        Ok(Lock { folder: folder.to_owned(), _file: file })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut line = Vec::new();
    file.take(MAX_HOLDER_BYTES).read_to_end(&mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let mut line = serde_json::to_vec(holder)?;
    line.push(b'\n');
    file.set_len(0)?;
    file.write_all(&line)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn holder() -> Holder {
        Holder { pid: std::process::id(), boot: "boot".into(), host: "höst \"1\"".into() }
    }

    /// Set for the other process, which begins with the same test.
    const FOLDER: &str = "JOULEPRINT_TEST_LOCK";
    const AS_ANOTHER: &str = "store::lock::tests::another_process_is_named_and_its_death_frees_the_folder";

    /// The lock of a folder that nobody holds. A process that another test is starting at this moment has a
    /// copy of every open file until it becomes another program.
    pub(in crate::store) fn take_free(folder: &Path, holder: &Holder) -> Lock {
        for _ in 0..1_000_000 {
            match Lock::take(folder, holder) {
                Err(LockError::Held { .. }) => std::thread::yield_now(),
                taken => return taken.expect("a folder that can be locked"),
            }
        }
        panic!("{} stays locked", folder.display());
    }

    /// The test program itself, which takes the lock and waits to be ended.
    fn child(folder: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().expect("a test program"))
            .args(["--exact", AS_ANOTHER, "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let mut said = Vec::new();
        let mut byte = [0];
        let out = child.stdout.as_mut().expect("piped");
        while !said.ends_with(b"held\n") {
            assert_eq!(out.read(&mut byte).expect("readable"), 1, "{}", String::from_utf8_lossy(&said));
            said.extend(byte);
        }
        child
    }

    /// The other process.
    fn hold_until_killed(folder: &Path) {
        let _lock = Lock::take(folder, &holder()).expect("free");
        println!("held");
        // The end of the input is the end of the test, however that comes.
        io::stdin().read_to_end(&mut Vec::new()).expect("readable");
    }

    #[test]
    fn another_process_is_named_and_its_death_frees_the_folder() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            return hold_until_killed(Path::new(&folder));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = child(folder.path());
        match Lock::take(folder.path(), &holder()) {
            Err(LockError::Held { holder: Some(found), .. }) => assert_eq!(found.pid, child.id()),
            other => panic!("{other:?}"),
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        let lock = take_free(folder.path(), &holder());
        assert_eq!(lock.folder(), folder.path());
    }

    #[test]
    fn a_lock_file_that_says_nothing_sensible_is_held_by_an_unknown_process() {
        for content in ["", "garbage", "{\"pid\":-1}", "\u{0}"] {
            let folder = tempfile::tempdir().expect("a folder");
            let _held = take_free(folder.path(), &holder());
            std::fs::write(folder.path().join(FILE), content).expect("writable");
            let error = Lock::take(folder.path(), &holder()).expect_err("held");
            assert!(error.to_string().contains("an unknown process"), "{error}");
        }
    }

    #[test]
    fn a_new_folder_is_closed_to_others_and_a_shorter_line_leaves_nothing_of_the_longer() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("a/b");
        drop(take_free(&folder, &Holder { host: "long".repeat(50).into(), ..holder() }));
        drop(take_free(&folder, &holder()));
        let mode = std::fs::metadata(&folder).expect("there").permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
        let line = std::fs::read(folder.join(FILE)).expect("there");
        assert_eq!(serde_json::from_slice::<Holder>(&line).expect("one line"), holder());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_another_matter_than_one_in_use() {
        let outer = tempfile::tempdir().expect("a folder");
        let file = outer.path().join("file");
        std::fs::write(&file, "").expect("writable");
        let error = Lock::take(&file.join("folder"), &holder()).expect_err("inside a file");
        assert!(matches!(error, LockError::Unusable(_)), "{error}");
    }
}
