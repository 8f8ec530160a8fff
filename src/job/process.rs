//! Processes instead of control groups, for machines whose groups say nothing of who works: the busiest
//! are jobs, the others are added up. Each one's `stat` is kept open and read at every tick.
//!
//! A process is (number, start): a number that is used again is another process. What was charged stays
//! where it is; who becomes a job, or ceases to be one, is charged differently from then on only. What
//! a process used after it was last read, its parent tells by what it waited for, and that is `ended`.

pub mod chosen;
pub mod stat;

use super::consumers::Sight;
use super::register::Stand;
use crate::kernel_file::{Buffer, KernelFile, read_text};
use crate::model::identity::{JobId, JobKind, Name, Residual};
use crate::model::quantity::Nanos;
use crate::model::reading::{Birth, Fault, GroupReading, GroupRole, GroupSlot, Groups, Hierarchy};
use chosen::Weight;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, seek};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// /proc counts in 1/100 s on every architecture (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// Processes that are read; `system` has what is used beyond them. A machine of 5,000 is a large one.
const MAX_PROCESSES: usize = 32_768;

/// What is no process of a user, or could not be read, is looked at again in so many turns: within a minute.
const TURNS: u32 = 12;

/// For the names of some hundred processes at a time.
const DIRECTORY_BYTES: usize = 16 << 10;

/// Everything but the busiest.
const REST: GroupSlot = GroupSlot(0);
/// What ended unseen.
const ENDED: GroupSlot = GroupSlot(1);
/// Smaller numbers are those two.
const FIRST_SLOT: u32 = 2;

/// Whom the work is charged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// So many processes, the busiest, are jobs of their own; the others are `overflow`.
    Each(u32),
    /// All that can be seen are one job, but for our own.
    Together(JobId),
}

/// What is known of the machine beforehand.
#[derive(Debug, Clone)]
pub struct Ground {
    /// /proc.
    pub procfs: PathBuf,
    /// Files kept open at the most; processes beyond that are opened for each reading.
    pub max_open: usize,
    /// CPUs, 0 if it is not known.
    pub cpus: u32,
    /// Our own process, where it must not be charged.
    pub own: Option<u32>,
}

/// The processes of this host.
#[derive(Debug)]
pub struct Processes {
    ground: Ground,
    charge: Charge,
    directory: Option<OwnedFd>,
    uptime: Option<KernelFile>,
    known: BTreeMap<u32, Process>,
    // Kernel threads and what cannot be read.
    apart: BTreeMap<u32, Apart>,
    open: usize,
    // Found no room at the last look.
    hidden: usize,
    // The uptime at the last look, in 1/100 s.
    looked: Option<u64>,
    turn: u32,
    // By how much the dead had used more than their parents had waited for, at the last look.
    owed: u64,
    rest: u64,
    ended: u64,
    free: Vec<u32>,
    dead: Vec<u32>,
    slots: u32,
    errors: HashMap<Fault, u64>,
}

#[derive(Debug)]
struct Process {
    start: u64,
    file: Option<KernelFile>,
    name: Name,
    own: u64,
    waited: u64,
    // Used since the last look.
    fresh: u64,
    weight: Weight,
    slot: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    Kernel,
    Unreadable,
}

/// What a look has come to so far, in 1/100 s.
#[derive(Debug, Default)]
struct Look {
    used: u64,
    waited: u64,
    gone: u64,
    groups: Groups,
}

impl Processes {
    /// Nothing is read yet. What is found at the first look was there before us.
    #[must_use]
    pub fn new(ground: Ground, charge: Charge) -> Processes {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Processes {
            directory: open(&ground.procfs, flags, Mode::empty()).ok(),
            uptime: KernelFile::open(&ground.procfs.join("uptime")).ok(),
            ground,
            charge,
            known: BTreeMap::new(),
            apart: BTreeMap::new(),
            open: 0,
            hidden: 0,
            looked: None,
            turn: 0,
            owed: 0,
            rest: 0,
            ended: 0,
            free: Vec::new(),
            dead: Vec::new(),
            slots: FIRST_SLOT,
            errors: HashMap::new(),
        }
    }

    /// From the next look on so many are jobs.
    pub fn choose(&mut self, top: u32) {
        if let Charge::Each(count) = &mut self.charge {
            *count = top;
        }
    }

    /// What everything has used by now, since the last call.
    pub fn collect(&mut self, buffer: &mut Buffer) -> Groups {
        let mut look = Look::default();
        let uptime = self.uptime.as_ref().and_then(|file| hundredths(file.read_start(buffer).ok()?));
        let is_first = self.looked.is_none();
        if is_first {
            look.groups.births = self.sums();
        }
        self.read_known(buffer, &mut look);
        self.look_for_new(uptime.unwrap_or(0), buffer, &mut look);
        let elapsed = uptime.unwrap_or(0).saturating_sub(self.looked.unwrap_or(0));
        self.looked = Some(uptime.or(self.looked).unwrap_or(0));
        let unseen = if is_first { 0 } else { self.unseen(&look, elapsed) };
        match self.charge {
            Charge::Each(top) => {
                self.ended += unseen;
                self.choose_again(top as usize, &mut look);
                self.charge_each(&mut look);
                look.groups.readings.push(reading(ENDED, self.ended));
            }
            Charge::Together(_) => self.rest += look.used + unseen,
        }
        look.groups.readings.push(reading(REST, self.rest));
        // A number that died now is not used again before the next look.
        self.free.append(&mut self.dead);
        look.groups
    }

    /// How it fares.
    #[must_use]
    pub fn state(&self) -> Sight {
        let mut errors: Vec<(Fault, u64)> =
            self.errors.iter().map(|(fault, count)| (*fault, *count)).collect();
        errors.sort_unstable();
        Sight { is_watching: false, observed: self.known.len(), hidden: self.hidden, errors }
    }

    /// How many of those that were seen could not be read at their last turn.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.apart.values().filter(|apart| **apart == Apart::Unreadable).count()
    }

    /// Who is charged with the process of this number, as things stand since the last look.
    #[must_use]
    pub fn stand_of(&self, pid: u32) -> Stand {
        let Some(process) = self.known.get(&pid) else {
            return if self.apart.contains_key(&pid) { Stand::In(Vec::new()) } else { Stand::Gone };
        };
        match (&self.charge, process.slot) {
            (Charge::Together(id), _) => Stand::In(vec![id.clone()]),
            (Charge::Each(_), Some(_)) => Stand::In(vec![process.job(pid)]),
            (Charge::Each(_), None) => Stand::In(Vec::new()),
        }
    }

    /// By which rules processes are charged.
    #[must_use]
    pub fn view(&self) -> Name {
        let procfs = self.ground.procfs.display();
        format!("{} {:?} in {procfs}", env!("CARGO_PKG_VERSION"), self.charge).into()
    }

    /// The groups that are no single process.
    fn sums(&self) -> Vec<Birth> {
        let sum = |slot: GroupSlot, role, path: &str| Birth {
            slot,
            parent: None,
            hierarchy: Hierarchy::Primary,
            role,
            path: path.into(),
            inode: u64::from(slot.0) + 1,
            user: None,
            is_new: true,
        };
        match &self.charge {
            Charge::Each(_) => vec![
                sum(REST, GroupRole::Residual(Residual::Overflow), ""),
                sum(ENDED, GroupRole::Residual(Residual::Ended), ""),
            ],
            Charge::Together(id) => vec![sum(REST, GroupRole::Job(id.clone()), "/")],
        }
    }

    fn read_known(&mut self, buffer: &mut Buffer, look: &mut Look) {
        let mut dead = Vec::new();
        for (pid, process) in &mut self.known {
            process.fresh = 0;
            match process.read(&self.ground.procfs, *pid, buffer) {
                Ok(Some((own, waited))) => {
                    process.fresh = own.saturating_sub(process.own);
                    look.used += process.fresh;
                    look.waited += waited.saturating_sub(process.waited);
                    (process.own, process.waited) = (own, waited);
                }
                Ok(None) | Err(Fault::Missing) => dead.push(*pid),
                // It alone goes without a reading; what it has used comes with the next good one.
                Err(fault) => *self.errors.entry(fault).or_default() += 1,
            }
        }
        for pid in dead {
            self.bury(pid, look);
        }
    }

    /// A process is gone. What it was seen to use stays where it belongs.
    fn bury(&mut self, pid: u32, look: &mut Look) {
        let Some(process) = self.known.remove(&pid) else { return };
        look.gone += process.own + process.waited;
        self.open -= usize::from(process.file.is_some());
        match process.slot {
            Some(slot) => look.groups.readings.push(reading(GroupSlot(slot), process.own)),
            // Where all are one, this is counted already.
            None if matches!(self.charge, Charge::Each(_)) => self.rest += process.fresh,
            None => {}
        }
        self.leave(process.slot, look);
    }

    /// Reads the directory, and only of those that are not known more than their number.
    fn look_for_new(&mut self, uptime: u64, buffer: &mut Buffer, look: &mut Look) {
        let Some(all) = self.numbers() else {
            *self.errors.entry(Fault::Io).or_default() += 1;
            return;
        };
        let listed: BTreeSet<u32> = all.iter().copied().collect();
        self.apart.retain(|pid, _| listed.contains(pid));
        let gone: Vec<u32> = self.known.keys().copied().filter(|pid| !listed.contains(pid)).collect();
        for pid in gone {
            self.bury(pid, look);
        }
        self.hidden = 0;
        self.turn = (self.turn + 1) % TURNS;
        for pid in all {
            let is_apart = self.apart.contains_key(&pid) && pid % TURNS != self.turn;
            if self.known.contains_key(&pid) || is_apart || self.ground.own == Some(pid) {
                continue;
            }
            if self.known.len() >= MAX_PROCESSES {
                self.hidden += 1;
                continue;
            }
            self.meet(pid, uptime, buffer, look);
        }
    }

    fn meet(&mut self, pid: u32, uptime: u64, buffer: &mut Buffer, look: &mut Look) {
        let opened = KernelFile::open(&stat_path(&self.ground.procfs, pid));
        let text = opened.and_then(|file| Ok((file.read_start(buffer)?, file)));
        let (text, file) = match text {
            Ok(read) => read,
            Err(error) => {
                if fault(&error) != Fault::Missing {
                    *self.errors.entry(fault(&error)).or_default() += 1;
                    self.apart.insert(pid, Apart::Unreadable);
                }
                return;
            }
        };
        let Some(stat) = stat::parse(text) else {
            *self.errors.entry(Fault::Malformed).or_default() += 1;
            self.apart.insert(pid, Apart::Unreadable);
            return;
        };
        self.apart.remove(&pid);
        if stat.is_kernel {
            self.apart.insert(pid, Apart::Kernel);
            return;
        }
        // One that was started before the last look and comes into sight now has a past that is not ours.
        let is_new = self.looked.is_some_and(|looked| stat.start >= looked);
        let fresh = if is_new { stat.own } else { 0 };
        look.used += fresh;
        look.waited += if is_new { stat.waited } else { 0 };
        let has_room = self.open < self.ground.max_open;
        self.open += usize::from(has_room);
        let weight = match self.looked {
            None => Weight::over_life(stat.own, uptime.saturating_sub(stat.start)),
            Some(_) => Weight::default(),
        };
        let process = Process {
            start: stat.start,
            file: has_room.then_some(file),
            name: escaped(stat.name),
            own: stat.own,
            waited: stat.waited,
            fresh,
            weight,
            slot: None,
        };
        self.known.insert(pid, process);
    }

    /// The numbers in /proc, in the kernel's order, which is theirs.
    fn numbers(&self) -> Option<Vec<u32>> {
        let directory = self.directory.as_ref()?;
        seek(directory, SeekFrom::Start(0)).ok()?;
        let mut buffer = vec![MaybeUninit::uninit(); DIRECTORY_BYTES];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut numbers = Vec::with_capacity(self.known.len() + self.apart.len());
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            if name.first().is_some_and(u8::is_ascii_digit) {
                numbers.extend(std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()));
            }
        }
        Some(numbers)
    }

    /// What ended processes used after they were last read, or before they ever were: their parents have
    /// waited for all of it, and what is known of it already is taken off. A parent that was read just
    /// before it waited tells at the next look; one that never waits tells nothing, and the work is the
    /// system's.
    fn unseen(&mut self, look: &Look, elapsed: u64) -> u64 {
        let owed = std::mem::replace(&mut self.owed, look.gone.saturating_sub(look.waited));
        let unseen = look.waited.saturating_sub(look.gone).saturating_sub(owed);
        let capacity = match self.ground.cpus {
            0 => u64::MAX,
            cpus => elapsed.saturating_mul(u64::from(cpus)),
        };
        // More than the machine can have done meanwhile is the life of one that could never be read.
        if unseen <= capacity.saturating_sub(look.used) { unseen } else { 0 }
    }

    fn choose_again(&mut self, top: usize, look: &mut Look) {
        for process in self.known.values_mut() {
            process.weight.add(process.fresh);
        }
        let candidates =
            self.known.iter().map(|(pid, process)| (*pid, process.weight, process.slot.is_some()));
        let change = chosen::choose(candidates.collect(), top);
        for pid in change.leave {
            let Some(process) = self.known.get_mut(&pid) else { continue };
            let slot = process.slot.take();
            // Up to now it is a job.
            if let Some(slot) = slot {
                look.groups.readings.push(reading(GroupSlot(slot), process.own));
                process.fresh = 0;
            }
            self.leave(slot, look);
        }
        for pid in change.enter {
            self.enter(pid, look);
        }
    }

    fn enter(&mut self, pid: u32, look: &mut Look) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        let Some(process) = self.known.get_mut(&pid) else { return };
        process.slot = Some(slot);
        let directory = self.ground.procfs.join(pid.to_string());
        let groups = read_text(&directory.join("cgroup")).unwrap_or_default();
        let id = process.job(pid);
        look.groups.births.push(Birth {
            slot: GroupSlot(slot),
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(id),
            path: innermost(&groups).into(),
            // Numbers have 22 bits at the most (kernel: PID_MAX_LIMIT).
            inode: process.start << 22 | u64::from(pid),
            user: std::fs::metadata(&directory).ok().map(|metadata| metadata.uid()),
            is_new: false,
        });
        // What it used up to the last look has been charged.
        look.groups.readings.push(reading(GroupSlot(slot), process.own - process.fresh));
    }

    fn leave(&mut self, slot: Option<u32>, look: &mut Look) {
        if let Some(slot) = slot {
            look.groups.deaths.push(GroupSlot(slot));
            self.dead.push(slot);
        }
    }

    fn charge_each(&mut self, look: &mut Look) {
        for process in self.known.values() {
            match process.slot {
                Some(slot) => look.groups.readings.push(reading(GroupSlot(slot), process.own)),
                None => self.rest += process.fresh,
            }
        }
    }
}

impl Process {
    fn job(&self, pid: u32) -> JobId {
        JobId::new(JobKind::Process, &format!("{}/{pid}/{}", self.name, self.start))
    }

    /// Own and waited time, or `None` if the number is another process's by now.
    fn read(&self, procfs: &Path, pid: u32, buffer: &mut Buffer) -> Result<Option<(u64, u64)>, Fault> {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = KernelFile::open(&stat_path(procfs, pid)).map_err(|error| fault(&error))?;
                &opened
            }
        };
        let stat =
            stat::parse(file.read_start(buffer).map_err(|error| fault(&error))?).ok_or(Fault::Malformed)?;
        Ok((stat.start == self.start).then_some((stat.own, stat.waited)))
    }
}

/// An open file of a process that is gone gives ESRCH.
fn fault(error: &std::io::Error) -> Fault {
    const ESRCH: i32 = 3;
    match error.raw_os_error() {
        Some(ESRCH) => Fault::Missing,
        _ => Fault::from(error),
    }
}

fn stat_path(procfs: &Path, pid: u32) -> PathBuf {
    procfs.join(pid.to_string()).join("stat")
}

fn reading(slot: GroupSlot, hundredths: u64) -> GroupReading {
    GroupReading { slot, usage: Nanos::new(hundredths.saturating_mul(TICK)), per_socket: None }
}

/// `12345.67 …` in 1/100 s.
fn hundredths(uptime: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(uptime).ok()?;
    let (seconds, rest) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let fraction = format!("{:0<2.2}", rest);
    seconds.parse::<u64>().ok()?.checked_mul(100)?.checked_add(fraction.parse().ok()?)
}

/// A name may be anything its process likes: what is no plain character, or parts an id, becomes `_`.
fn escaped(name: &[u8]) -> Name {
    let plain = |byte: &u8| if byte.is_ascii_graphic() && *byte != b'/' { char::from(*byte) } else { '_' };
    name.iter().map(plain).collect::<String>().into()
}

/// The path in v2, or in v1's accounting hierarchy where v2 says nothing.
fn innermost(groups: &str) -> &str {
    let path = |is_wanted: fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            is_wanted(controllers).then_some(path)
        })
    };
    let v1 = path(|controllers| controllers.split(',').any(|name| name == "cpuacct"));
    v1.filter(|path| *path != "/").or_else(|| path(str::is_empty)).or(v1).unwrap_or_default()
}

#[cfg(test)]
mod tests;
