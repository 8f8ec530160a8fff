//! What the tests stand on: control groups that are removed again, and the exporter as a process that
//! is ended again.

use crate::http::{self, Answer};
use crate::load;
use crate::page::{Page, check_identity};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The control groups of this machine.
pub(crate) static CGROUPFS: LazyLock<String> = LazyLock::new(|| {
    std::env::var("JOULEPRINT_TEST_CGROUPFS").unwrap_or_else(|_| "/sys/fs/cgroup".to_owned())
});

/// What the groups of these tests begin with.
pub(crate) const TOP: &str = "jouleprint-test-";

/// A number that no other test of this run, or of one beside it, uses.
pub(crate) fn unique() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) * 1_000_000 + COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A pod's UID.
pub(crate) fn uid() -> String {
    format!("00000000-0000-4000-8000-{:012x}", unique())
}

/// A container's id.
pub(crate) fn container_id() -> String {
    format!("{:064x}", unique())
}

/// Waits until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// The wall clock, in ms.
pub(crate) fn now_milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 584,556,019")
}

/// The page of an answer in 0.0.4, which must be sound.
pub(crate) fn read_text(answer: &str) -> Page {
    sound(Page::parse_text(answer), answer)
}

/// The page of an answer in OpenMetrics, which must be sound.
pub(crate) fn read_open_metrics(answer: &str) -> Page {
    sound(Page::parse(answer), answer)
}

/// Refuses a page that has no meter or does not add up.
fn sound(page: Result<Page, String>, answer: &str) -> Page {
    let checked = page.and_then(|page| {
        check_identity(&page)?;
        let has_meters = !page.all("hw_energy_joules_total", &[]).is_empty();
        if has_meters { Ok(page) } else { Err("no meter is on the page".to_owned()) }
    });
    checked.unwrap_or_else(|error| panic!("{error}\n{answer}"))
}

/// The sum of all series with this name and at least these labels, in their own unit: for what can
/// only agree within a tolerance.
pub(crate) fn amount(page: &Page, name: &str, labels: &[(&str, &str)]) -> f64 {
    page.sum(name, labels) as f64 / 1e9
}

/// When everything on the page was read, in ms.
pub(crate) fn timestamp_milliseconds(page: &Page) -> u64 {
    let nanoseconds = page.sum("jouleprint_snapshot_timestamp_seconds", &[]);
    u64::try_from(nanoseconds / 1_000_000).expect("before the year 584,556,019")
}

/// Control groups of one hierarchy below a top of their own; removed, leaf first, when dropped.
#[derive(Debug)]
pub(crate) struct Groups {
    top: PathBuf,
}

impl Groups {
    /// In v1's accounting hierarchy.
    pub(crate) fn cpuacct() -> Groups {
        Groups::below("cpuacct")
    }

    /// In v2's hierarchy.
    pub(crate) fn unified() -> Groups {
        Groups::below("unified")
    }

    fn below(hierarchy: &str) -> Groups {
        let root = Path::new(CGROUPFS.as_str()).join(hierarchy);
        assert!(
            root.join("cgroup.procs").exists(),
            "no control groups in {} (the slow tier needs them)",
            root.display()
        );
        let top = root.join(format!("{TOP}{}", unique()));
        fs::create_dir(&top).unwrap_or_else(|error| panic!("{}: {error} (are you root?)", top.display()));
        Groups { top }
    }

    /// A group, with those around it.
    pub(crate) fn make(&self, path: &str) -> PathBuf {
        let group = self.top.join(path);
        fs::create_dir_all(&group).expect("a control group is made");
        group
    }

    /// Removes a group; it must be empty, or become so soon.
    pub(crate) fn remove(group: &Path) {
        wait_for("an empty control group", || fs::remove_dir(group).ok());
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let began = Instant::now();
        // A process that was just ended leaves its group a moment later.
        while !remove_all(&self.top) && began.elapsed() < PATIENCE {
            std::thread::sleep(LOOK);
        }
    }
}

/// What a program may leave behind in any hierarchy under this name; removed when dropped.
#[derive(Debug)]
pub(crate) struct Leftovers(pub(crate) String);

impl Drop for Leftovers {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir(CGROUPFS.as_str()).into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            let group = hierarchy.path().join(&self.0);
            let began = Instant::now();
            while group.exists() && !remove_all(&group) && began.elapsed() < PATIENCE {
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// A program that is ended when dropped.
#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end, which must be good, within the time that everything has. Returns what it said.
pub(crate) fn run(command: &mut std::process::Command) -> String {
    let name = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
    let began = Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn remove_all(group: &Path) -> bool {
    let children = fs::read_dir(group).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_all(&child.path());
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// How to start an exporter.
#[derive(Debug, Default)]
pub(crate) struct Setup<'a> {
    pub(crate) sysfs: Option<&'a Path>,
    pub(crate) procfs: Option<&'a Path>,
    /// The machine's own unless it is given.
    pub(crate) cgroupfs: Option<&'a Path>,
    pub(crate) config: &'a str,
    pub(crate) arguments: &'a [&'a str],
    /// A folder whose `store` and `run` outlive the exporter; without it, it has a store of its own that
    /// ends with it.
    pub(crate) home: Option<&'a Path>,
    /// Where an earlier exporter listened.
    pub(crate) address: Option<SocketAddr>,
    /// A command and its arguments that start the program in another world; the process must stay the same.
    pub(crate) under: &'a [String],
    /// Groups to start it in.
    pub(crate) groups: &'a [PathBuf],
    /// In a control-group namespace of its own.
    pub(crate) is_private: bool,
    /// In such a namespace, with v2 mounted here as it looks from inside.
    pub(crate) own_mount: Option<&'a Path>,
}

/// The running exporter; ended when dropped.
#[derive(Debug)]
pub(crate) struct Exporter {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
    started: Instant,
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Exporter {
    /// Starts the program and waits until it is ready.
    pub(crate) fn start(setup: &Setup<'_>) -> Exporter {
        let mut exporter = Exporter::spawn(setup);
        exporter.wait_until_ready();
        exporter
    }

    /// Starts the program.
    pub(crate) fn spawn(setup: &Setup<'_>) -> Exporter {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("jouleprint.yaml");
        fs::write(&config, setup.config).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("made");
        let address = setup.address.unwrap_or_else(free_address);
        let home = setup.home.unwrap_or(folder.path());
        let mut command = load::inside(setup.groups, setup.is_private);
        command.args(setup.under);
        if let Some(mount) = setup.own_mount {
            let script = "mount -t cgroup2 none \"$0\"; mount -o remount,bind,ro \"$0\"; exec \"$@\"";
            command.args(["unshare", "-Cm", "--propagation", "private", "sh", "-c", script]).arg(mount);
        }
        command.arg(env!("CARGO_BIN_EXE_jouleprint"));
        command.arg("--config.file").arg(&config);
        command.arg("--web.listen-address").arg(address.to_string());
        command.arg("--store.path").arg(home.join("store"));
        command.arg("--path.runtime").arg(home.join("run"));
        if setup.own_mount.is_none() {
            let cgroupfs = setup.cgroupfs.unwrap_or(Path::new(CGROUPFS.as_str()));
            command.arg("--path.cgroupfs").arg(cgroupfs);
        }
        // The view of both hierarchies that tests/run.sh mounts is there to be written by the tests.
        if !CGROUPFS.starts_with("/sys/") {
            command.arg("--path.allow-writable");
        }
        command.args(setup.arguments);
        for (flag, path) in [("--path.sysfs", setup.sysfs), ("--path.procfs", setup.procfs)] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("started");
        Exporter { child, address, folder, started: Instant::now() }
    }

    /// Waits until it is ready.
    pub(crate) fn wait_until_ready(&mut self) {
        wait_for("an exporter that is ready", || {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the exporter ended with {ended:?}:\n{}", self.log());
            let ready = http::request(self.address, "GET", "/-/ready", &[]);
            ready.ok().filter(|answer| answer.status == 200)
        });
    }

    /// Kills it as the kernel does when memory is short.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Ends it cleanly. Returns what it had logged.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0), "{}", self.log());
        self.log()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// How long since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The page now.
    pub(crate) fn page(&self) -> Page {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        read_text(answer.text())
    }

    /// The first page that was read wholly after `milliseconds`.
    pub(crate) fn page_after(&self, milliseconds: u64) -> Page {
        wait_for("a new page", || {
            let page = self.page();
            (timestamp_milliseconds(&page) > milliseconds).then_some(page)
        })
    }

    /// The first page that is read wholly after this call.
    pub(crate) fn next_page(&self) -> Page {
        self.page_after(now_milliseconds())
    }

    /// A GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        http::get(self.address, path)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Rewrites the configuration and tells it so; waits for its word that it has looked.
    pub(crate) fn reconfigure(&self, config: &str, word: &str) {
        fs::write(self.folder.path().join("jouleprint.yaml"), config).expect("written");
        let before = self.log().matches(word).count();
        self.signal(Signal::HUP);
        wait_for(word, || (self.log().matches(word).count() > before).then_some(()));
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a signal is sent");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the exporter's end", || self.child.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the exporter's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
