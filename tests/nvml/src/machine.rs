//! The library's state: which scenario is in force, what was handed out, and who waits.

use crate::scenario::{CALLS, Device, FILE, Instance, Scenario};
use nvml_wrapper_sys::bindings::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A hanging call looks again whether it still hangs.
const LOOK: Duration = Duration::from_millis(1);

/// A file that was just written may have been written again.
const YOUNG: Duration = Duration::from_millis(50);

/// Handles begin here: an address that nobody follows by mistake.
const FIRST_HANDLE: usize = 0x10_0000;

#[derive(Default)]
struct State {
    seen: Option<(u64, i64, i64, u64)>,
    scenario: Arc<Scenario>,
    // What handles stand for: a UUID, and the start at that time.
    handles: Vec<(String, u32)>,
    clients: u32,
    // The driver's load at the last start, and how often each device had been reset by then.
    loads: u32,
    resets: BTreeMap<String, u32>,
    // How often the library was started, and the calls that are open.
    starts: u32,
    open: u32,
    calls: Option<File>,
}

static STATE: OnceLock<Mutex<State>> = OnceLock::new();

fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    let state = STATE.get_or_init(Mutex::default);
    act(&mut state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Where this very copy of the library was loaded from.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let here = folder as fn() -> &'static Path as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let file = maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            let is_ours = (address(from)?..address(to)?).contains(&here);
            is_ours.then(|| rest.find('/').map(|at| PathBuf::from(&rest[at..])))?
        });
        file.and_then(|file| Some(file.parent()?.to_owned())).unwrap_or_default()
    })
}

impl State {
    fn refresh(&mut self) -> Arc<Scenario> {
        let path = folder().join(FILE);
        let seen = std::fs::metadata(&path)
            .map(|data| (data.ino(), data.mtime(), data.mtime_nsec(), data.size()))
            .ok();
        // Two changes within a tick of the kernel's clock have one time.
        let age = seen.map_or(YOUNG, |(_, seconds, nanos, _)| {
            let since = Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs() as u32);
            UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(since)
        });
        if seen != self.seen || age < YOUNG {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            match serde_json::from_str(&text) {
                Ok(scenario) => {
                    self.scenario = Arc::new(scenario);
                    self.seen = seen;
                }
                // The folder of a test that is over.
                Err(_) if text.is_empty() => {}
                Err(error) => eprintln!("{}: {error}", path.display()),
            }
        }
        Arc::clone(&self.scenario)
    }

    fn count(&mut self, function: &str, uuid: &str) {
        if self.calls.is_none() {
            let file = File::options().create(true).append(true).open(folder().join(CALLS));
            self.calls = file.ok();
        }
        if let Some(calls) = &mut self.calls {
            let _ = calls.write_all(format!("{function} {uuid}\n").as_bytes());
        }
    }
}

/// The monotonic clock, in ms.
pub(crate) fn now_ms() -> u64 {
    // Since boot it is for the kernel alone; /proc tells it in hundredths, which is too coarse.
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, offset) = START.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = text.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (Instant::now(), (seconds * 1_000.0) as u64)
    });
    offset + start.elapsed().as_millis() as u64
}

/// The scenario in force, once the call may go on.
fn enter(function: &str, uuid: &str) -> Arc<Scenario> {
    with(|state| {
        state.count(function, uuid);
        state.open += 1;
    });
    let scenario = wait(uuid);
    with(|state| state.open -= 1);
    scenario
}

fn wait(uuid: &str) -> Arc<Scenario> {
    let scenario = with(State::refresh);
    if let Some(device) = scenario.devices.iter().find(|device| device.uuid == uuid) {
        std::thread::sleep(Duration::from_millis(device.delay_ms));
    }
    loop {
        let scenario = with(State::refresh);
        let is_blocked = scenario.devices.iter().any(|device| device.uuid == uuid && device.blocks);
        if !scenario.blocks && !is_blocked {
            return scenario;
        }
        std::thread::sleep(LOOK);
    }
}

/// A client comes.
pub(crate) fn init(function: &str) -> Result<(), nvmlReturn_t> {
    let scenario = enter(function, "");
    if scenario.init_error != 0 {
        return Err(scenario.init_error);
    }
    with(|state| {
        if state.clients == 0 {
            state.loads = scenario.loads;
            state.starts += 1;
            let resets = scenario.devices.iter().map(|device| (device.uuid.clone(), device.resets));
            state.resets = resets.collect();
        }
        state.clients += 1;
    });
    Ok(())
}

/// A client goes. While another call is open no client may, and that is noted.
pub(crate) fn shutdown() -> Result<(), nvmlReturn_t> {
    if with(|state| state.open) > 0 {
        with(|state| state.count("nvmlShutdown-under-a-call", ""));
    }
    enter("nvmlShutdown", "");
    with(|state| match state.clients.checked_sub(1) {
        Some(left) => {
            state.clients = left;
            Ok(())
        }
        None => Err(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED),
    })
}

/// The scenario, for who has initialised since the driver was loaded.
pub(crate) fn system(function: &str) -> Result<Arc<Scenario>, nvmlReturn_t> {
    let scenario = enter(function, "");
    with(|state| match (state.clients, state.loads == scenario.loads) {
        (0, _) => Err(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED),
        (_, false) => Err(nvmlReturn_enum_NVML_ERROR_UNKNOWN),
        (_, true) => Ok(scenario),
    })
}

/// A handle for what has this UUID.
pub(crate) fn handle(uuid: &str) -> nvmlDevice_t {
    let number = with(|state| {
        let known = (uuid.to_owned(), state.starts);
        let place = state.handles.iter().position(|handle| *handle == known);
        place.unwrap_or_else(|| {
            state.handles.push(known);
            state.handles.len() - 1
        })
    });
    (FIRST_HANDLE + number * 16) as nvmlDevice_t
}

/// A device or an instance of one.
pub(crate) struct Subject {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) index: usize,
    pub(crate) instance: Option<usize>,
}

impl Subject {
    pub(crate) fn device(&self) -> &Device {
        &self.scenario.devices[self.index]
    }

    pub(crate) fn instance(&self) -> Option<&Instance> {
        self.device().mig.as_ref()?.instances.get(self.instance?)
    }

    /// The device, for functions that know no instances.
    pub(crate) fn whole(&self) -> Result<&Device, nvmlReturn_t> {
        match self.instance {
            None => Ok(self.device()),
            Some(_) => Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
        }
    }

    /// The instance, for functions that know nothing else.
    pub(crate) fn part(&self) -> Result<&Instance, nvmlReturn_t> {
        self.instance().ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }
}

/// What a handle stands for, once the call may go on.
pub(crate) fn subject(function: &str, handle: nvmlDevice_t) -> Result<Subject, nvmlReturn_t> {
    let number = (handle as usize).checked_sub(FIRST_HANDLE).map(|number| number / 16);
    let known = with(|state| number.and_then(|number| state.handles.get(number).cloned()));
    let Some((uuid, start)) = known else {
        enter(function, "");
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    };
    // The real library may crash then.
    if with(|state| start != state.starts) {
        with(|state| state.count("a-handle-of-before", &uuid));
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let parent = with(|state| {
        let scenario = state.refresh();
        let parent = scenario.devices.iter().find(|device| {
            device.mig.as_ref().is_some_and(|mig| mig.instances.iter().any(|part| part.uuid == uuid))
        });
        parent.map(|device| device.uuid.clone())
    });
    let scenario = enter(function, parent.as_deref().unwrap_or(&uuid));
    if with(|state| state.clients) == 0 {
        return Err(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
    }
    if with(|state| state.loads != scenario.loads) {
        return Err(nvmlReturn_enum_NVML_ERROR_UNKNOWN);
    }
    let lost = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
    let (index, instance) = place(&scenario, &uuid).ok_or(lost)?;
    if !is_current(&scenario.devices[index]) {
        return Err(lost);
    }
    match scenario.devices[index].error {
        0 => Ok(Subject { scenario, index, instance }),
        error => Err(error),
    }
}

/// Whether a device is as it was when the library was started; one without resets may come at any time.
pub(crate) fn is_current(device: &Device) -> bool {
    with(|state| state.resets.get(&device.uuid).map_or(device.resets == 0, |resets| *resets == device.resets))
}

/// Whether a device was there when the library was started.
pub(crate) fn is_seen(device: &Device) -> bool {
    with(|state| device.resets == 0 || state.resets.contains_key(&device.uuid))
}

/// Where what has this UUID stands.
pub(crate) fn place(scenario: &Scenario, uuid: &str) -> Option<(usize, Option<usize>)> {
    scenario.devices.iter().enumerate().find_map(|(index, device)| {
        if device.uuid == uuid {
            return Some((index, None));
        }
        let mig = device.mig.as_ref().filter(|mig| mig.is_on)?;
        let part = mig.instances.iter().position(|part| part.uuid == uuid)?;
        Some((index, Some(part)))
    })
}
