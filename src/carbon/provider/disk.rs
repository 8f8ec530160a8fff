//! Files of the user's, which may lie on a disk that hangs, such as a network's: they are read away from the
//! runtime's thread and waited for with a deadline. A disk that hangs keeps one thread for each file, whoever
//! asks and however often.

use crate::model::reading::Fault;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::timeout;

/// A disk that is there answers in a fraction of it; a round of questions has several files.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a file held when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Arc<[u8]>,
    stamp: Stamp,
}

/// What changes with the content: a file is written in place, or another one is renamed over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Unread {
    /// As on the page.
    pub fault: Fault,
    /// What is wrong, without the file's name.
    pub cause: String,
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Unread {
        Unread { fault: Fault::from(&error), cause: error.to_string() }
    }
}

type Outcome = Result<Content, Unread>;

type Reading = watch::Receiver<Option<Outcome>>;

/// What is being read just now; who wants the same file waits for the same reading. It is the machine's disk that
/// hangs, so this is not one asker's own. As many as there are files in the configuration.
static UNDER_WAY: Mutex<BTreeMap<PathBuf, Reading>> = Mutex::new(BTreeMap::new());

/// A regular file of at most so many bytes. What is `known` of it is given back as long as the file is the same.
///
/// # Errors
/// It is none, is larger, cannot be read, or is not there in time.
pub async fn read(path: &Path, most: u64, known: Option<Content>) -> Outcome {
    let own = path.to_owned();
    within(PATIENCE, path, move || once(&own, most, known)).await
}

/// Waits for what reads a file, which goes on if that takes longer.
async fn within(patience: Duration, path: &Path, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let mut reading = begin(path, work)?;
    match timeout(patience, reading.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone().expect("it was waited for until it was there"),
        Ok(Err(_)) => Err(Unread { fault: Fault::Io, cause: "its reading broke off".to_owned() }),
        Err(_) => {
            let cause = format!("no answer from its disk within {} ms", patience.as_millis());
            Err(Unread { fault: Fault::Timeout, cause })
        }
    }
}

fn begin(path: &Path, work: impl FnOnce() -> Outcome + Send + 'static) -> Result<Reading, Unread> {
    let under_way = || UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    let mut readings = under_way();
    // One that broke off tells nobody any more.
    if let Some(reading) = readings.get(path).filter(|reading| reading.has_changed().is_ok()) {
        return Ok(reading.clone());
    }
    let (tell, reading) = watch::channel(None);
    readings.insert(path.to_owned(), reading.clone());
    let path = path.to_owned();
    // A thread of the runtime's would be waited for at its end, which a command comes to after one answer.
    std::thread::Builder::new().name("file".to_owned()).spawn(move || {
        let outcome = work();
        // Who comes from now on may want what has changed since.
        under_way().remove(&path);
        tell.send_replace(Some(outcome));
    })?;
    Ok(reading)
}

fn once(path: &Path, most: u64, known: Option<Content>) -> Outcome {
    // Opening a pipe would wait for who writes into it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    let malformed = |cause: String| Unread { fault: Fault::Malformed, cause };
    if !about.is_file() {
        return Err(malformed("not a regular file".to_owned()));
    }
    let stamp = Stamp { modified: about.modified()?, bytes: about.len(), inode: about.ino() };
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(malformed(format!("larger than {} KiB", most >> 10)));
    }
    Ok(Content { bytes: bytes.into(), stamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    fn block<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn content(text: &str) -> Outcome {
        let stamp = Stamp { modified: SystemTime::UNIX_EPOCH, bytes: 0, inode: 0 };
        Ok(Content { bytes: text.as_bytes().into(), stamp })
    }

    #[test]
    fn a_disk_that_hangs_keeps_one_thread_and_nobody_waiting() {
        let path = Path::new("/a/hanging/disk");
        let (let_go, held) = mpsc::channel::<()>();
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        block(async {
            let patience = Duration::from_millis(20);
            let hanging = move || {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = held.recv();
                content("late")
            };
            let first = within(patience, path, hanging).await;
            assert!(first.as_ref().is_err_and(|unread| unread.fault == Fault::Timeout), "{first:?}");
            for _ in 0..3 {
                let count = Arc::clone(&begun);
                let more = move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    content("more")
                };
                assert!(within(patience, path, more).await.is_err());
            }
            assert_eq!(begun.load(Ordering::SeqCst), 1, "nobody else is sent there");
        });
        // The runtime has ended, as that of a command does; it did not wait either.
        block(async {
            // Others are read meanwhile, and it is again once the disk is back.
            let other = within(Duration::from_secs(60), Path::new("/another"), || content("other")).await;
            assert_eq!(other, content("other"));
            drop(let_go);
            let late = within(Duration::from_secs(60), path, || content("new")).await;
            assert!(late == content("late") || late == content("new"), "{late:?}");
            assert_eq!(within(Duration::from_secs(60), path, || content("new")).await, content("new"));
        });
    }

    #[test]
    fn only_a_plain_file_of_some_size_is_read_and_a_pipe_waits_for_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo is there");
        assert!(made.success());
        std::fs::write(at("large"), "x".repeat(2_049)).expect("written");
        std::fs::write(at("fits"), "x".repeat(2_048)).expect("written");
        block(async {
            for (name, fault, part) in [
                ("pipe", Fault::Malformed, "not a regular file"),
                ("", Fault::Malformed, "not a regular file"),
                ("large", Fault::Malformed, "larger than 2 KiB"),
                ("none", Fault::Missing, "No such file"),
            ] {
                let unread = read(&at(name), 2_048, None).await.expect_err(name);
                assert!(unread.fault == fault && unread.cause.contains(part), "{name}: {unread:?}");
            }
            assert_eq!(read(&at("fits"), 2_048, None).await.expect("read").bytes.len(), 2_048);
        });
        assert!(UNDER_WAY.lock().expect("not poisoned").keys().all(|path| !path.starts_with(folder.path())));
    }

    #[test]
    fn what_is_known_is_given_back_until_the_file_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let write = |name: &str, text: &str, seconds: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            let file = File::options().write(true).open(&path).expect("there");
            file.set_modified(time + Duration::from_secs(seconds)).expect("set");
            path
        };
        block(async {
            write("f", "one", 0);
            let first = read(&path, 64, None).await.expect("read");
            let again = async || {
                let content = read(&path, 64, Some(first.clone())).await.expect("read");
                String::from_utf8(content.bytes.to_vec()).expect("text")
            };
            write("f", "two", 0);
            assert_eq!(again().await, "one", "nothing tells that it has changed");
            write("f", "three", 0);
            assert_eq!(again().await, "three", "its size does");
            write("f", "two", 1);
            assert_eq!(again().await, "two", "its time does");
            std::fs::rename(write("g", "new", 0), &path).expect("renamed");
            assert_eq!(again().await, "new", "it is another file");
        });
    }
}
