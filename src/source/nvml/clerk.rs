//! The thread that looks who uses the devices, and into what they are divided: lists that take the driver
//! milliseconds each, so that they are asked for each 5 s at the most and only where they tell something.

use super::device::{Found, Identity};
use super::library::{Session, fault};
use super::office::{Call, Office, Who};
use super::raw::{Context, contexts, instance_ids};
use crate::model::gpu::{Instance, Partition, Process};
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Lists are made this often at the most: 5 s, less what a tick may come early.
const PERIOD: Nanos = Nanos::new(4_900_000_000);

/// Whether a device is divided is asked again at every so many looks, in place of its list: it changes
/// while nobody uses it.
const MODE_PERIOD: u32 = 12;

/// A device that takes longer than this to tell its energy is not asked who uses it.
const SLOW: Duration = Duration::from_secs(1);

/// Instances of a device; the driver has seven.
const MAX_INSTANCES: u32 = 16;

/// Who makes the lists.
pub(super) struct Clerk {
    office: Arc<Office>,
    last: Option<Nanos>,
    // By seat, the newest sample of the last session: the next one goes on from there.
    sampled: Vec<Option<u64>>,
}

impl Clerk {
    pub(super) fn new(office: Arc<Office>) -> Clerk {
        Clerk { office, last: None, sampled: Vec::new() }
    }

    /// Works until the end, with one session after another.
    pub(super) fn work(&mut self) {
        let mut before = 0;
        while let Some((number, session)) = self.office.session(Who::Clerk, before) {
            self.serve(number, &session);
            before = number;
            // The foreman waits for everybody to let go.
            drop(session);
            self.office.ring();
        }
    }

    fn serve(&mut self, number: u64, session: &Session) {
        let mut files: Vec<File> = Vec::new();
        loop {
            match self.office.await_call(Who::Clerk, number, None) {
                Call::Leave => {
                    self.sampled = files.iter().map(|file| file.sampled).collect();
                    return;
                }
                Call::Tick(at) if self.last.is_none_or(|last| at.saturating_sub(last) >= PERIOD) => {
                    self.last = Some(at);
                    self.look_at_all(session, &mut files);
                }
                Call::Tick(_) | Call::Quiet => {}
            }
            self.office.done(Who::Clerk);
        }
    }

    fn look_at_all<'a>(&self, session: &'a Session, files: &mut Vec<File<'a>>) {
        // Who does not answer now is not asked for more: it would take the lists of the others along.
        let round = self.office.let_readings_pass(SLOW);
        let state = self.office.lock();
        for seat in state.seats.iter().skip(files.len()) {
            let sampled = self.sampled.get(files.len()).copied().flatten();
            files.push(File::of(&seat.found, sampled));
        }
        drop(state);
        for (number, file) in files.iter_mut().enumerate() {
            // Of one whose energy cannot be read there are no lists either, and it may hang.
            // A tick that comes meanwhile is no silence.
            let state = self.office.lock();
            let trouble = state.seats[number].trouble(round);
            drop(state);
            let Some(look) = trouble.map_or_else(|| file.look(session), |fault| Some(Err(fault))) else {
                continue;
            };
            let mut state = self.office.lock();
            let sight = &mut state.seats[number].found.sight;
            match look {
                Ok((partition, processes)) => {
                    sight.partition = partition;
                    sight.processes = processes;
                }
                Err(fault) => sight.processes = Err(fault),
            }
        }
    }
}

/// Into what a device is divided, and who uses it.
type Look = (Partition, Result<Vec<Process>, Fault>);

/// What is kept of one device between two looks.
struct File<'a> {
    identity: Identity,
    device: Option<Device<'a>>,
    looks: u32,
    mode: Mode,
    // The newest sample of utilisation, if the look before this one asked for them.
    sampled: Option<u64>,
    has_gpm: Option<bool>,
    // By GPU instance, as they were at the last look.
    samples: BTreeMap<u32, GpmSample<'a>>,
}

/// Whether a device is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unknown,
    /// It never is.
    Indivisible,
    Whole,
    Divided,
}

impl<'a> File<'a> {
    fn of(found: &Found, sampled: Option<u64>) -> File<'a> {
        File {
            identity: found.identity.clone(),
            device: None,
            looks: 0,
            mode: Mode::Unknown,
            sampled,
            has_gpm: None,
            samples: BTreeMap::new(),
        }
    }

    /// One look; `None` if it brought nothing new.
    fn look(&mut self, session: &'a Session) -> Option<Result<Look, Fault>> {
        let device = match self.device.take() {
            Some(device) => Ok(device),
            None => self.identity.find(session),
        };
        let look = device.and_then(|device| {
            let look = self.look_at(session, &device);
            // The handle of a device that answers nothing is asked for anew.
            if look.is_ok() {
                self.device = Some(device);
            }
            look
        });
        look.map_err(|error| fault(&error)).transpose()
    }

    fn look_at(&mut self, session: &'a Session, device: &Device<'a>) -> Result<Option<Look>, NvmlError> {
        self.looks = self.looks.wrapping_add(1);
        let asks_again = match self.mode {
            Mode::Unknown | Mode::Divided => true,
            Mode::Whole => self.looks.is_multiple_of(MODE_PERIOD),
            Mode::Indivisible => false,
        };
        if asks_again {
            let before = self.mode;
            self.mode = match device.mig_mode() {
                Ok(mode) if mode.current == 1 => Mode::Divided,
                Ok(_) => Mode::Whole,
                Err(error) if fault(&error) == Fault::Unsupported => Mode::Indivisible,
                Err(error) => return Err(error),
            };
            if self.mode == Mode::Whole && before == Mode::Whole {
                return Ok(None);
            }
        }
        if self.mode == Mode::Divided {
            let partition = self.parts(&session.nvml, device)?;
            let Partition::Instances { instances, .. } = &partition else { return Ok(None) };
            let processes = contexts(device).map(|contexts| on_parts(&contexts, instances));
            let processes = processes.map_err(|error| fault(&error));
            return Ok(Some((partition, processes)));
        }
        self.samples.clear();
        let processes = match contexts(device) {
            Ok(contexts) => Ok(self.on_whole(device, &contexts)),
            Err(error) if fault(&error) == Fault::Lost => return Err(error),
            Err(error) => Err(fault(&error)),
        };
        Ok(Some((Partition::Whole, processes)))
    }

    /// Processes of a device that is not divided. Of one alone it need not be known how much it did.
    fn on_whole(&mut self, device: &Device, contexts: &[Context]) -> Vec<Process> {
        let used = if contexts.len() > 1 { self.used(device) } else { None };
        if contexts.len() <= 1 {
            self.sampled = None;
        }
        let process = |pid, used| Process { pid, instance: Name::from(""), used };
        let listed = contexts.iter().map(|context| {
            process(context.pid, used.as_ref().map(|used| used.get(&context.pid).copied().unwrap_or(0)))
        });
        let mut processes: Vec<Process> = listed.collect();
        // Who has ended since the last look used it too.
        for (pid, used) in used.into_iter().flatten() {
            if !contexts.iter().any(|context| context.pid == pid) {
                processes.push(process(pid, Some(used)));
            }
        }
        processes
    }

    /// What each process used since the last look, in percent and samples; `None` where that is not told,
    /// and the first time: what the driver has kept from before belongs to no look.
    fn used(&mut self, device: &Device) -> Option<BTreeMap<u32, u64>> {
        let before = self.sampled;
        let samples = match device.process_utilization_stats(before.unwrap_or(0)) {
            Ok(samples) => samples,
            // Nobody used it.
            Err(NvmlError::NotFound) => Vec::new(),
            Err(_) => {
                self.sampled = None;
                return None;
            }
        };
        let newest = samples.iter().map(|sample| sample.timestamp).max();
        self.sampled = Some(newest.unwrap_or(0).max(before.unwrap_or(0)));
        let before = before?;
        let mut used = BTreeMap::new();
        // The driver may deliver one twice.
        for sample in samples.iter().filter(|sample| sample.timestamp > before) {
            *used.entry(sample.pid).or_insert(0) += u64::from(sample.sm_util);
        }
        Some(used)
    }

    /// The instances of a divided device.
    fn parts(&mut self, nvml: &'a Nvml, device: &Device<'a>) -> Result<Partition, NvmlError> {
        let most = device.mig_device_count()?;
        let mut instances = Vec::new();
        for index in 0..most.min(MAX_INSTANCES) {
            match device.mig_device_by_index(index).and_then(|part| instance(&part)) {
                Ok(instance) => instances.push(instance),
                // Numbers are not used again at once: there may be others behind.
                Err(NvmlError::NotFound | NvmlError::InvalidArg) => {}
                Err(error) => return Err(error),
            }
        }
        let activities = self.activities(nvml, device, &instances);
        for instance in &mut instances {
            instance.activity = activities.get(&instance.gpu_instance).copied();
        }
        let given: u32 = instances.iter().map(|instance| instance.slices).sum();
        Ok(Partition::Instances { slices: most.max(given).max(1), instances })
    }

    /// How busy each GPU instance was since the last look, in ppm.
    fn activities(
        &mut self,
        nvml: &'a Nvml,
        device: &Device<'a>,
        instances: &[Instance],
    ) -> BTreeMap<u32, u32> {
        if !*self.has_gpm.get_or_insert_with(|| device.gpm_support().unwrap_or(false)) {
            return BTreeMap::new();
        }
        let mut before = std::mem::take(&mut self.samples);
        let mut activities = BTreeMap::new();
        for instance in instances {
            let number = instance.gpu_instance;
            if self.samples.contains_key(&number) {
                continue;
            }
            let Ok(now) = device.gpm_mig_sample(number) else { continue };
            if let Some(before) = before.remove(&number)
                && let Ok(metrics) = gpm_metrics_get(nvml, &before, &now, &[GpmMetricId::SmUtil])
                && let Some(Ok(metric)) = metrics.first()
                && let Some(ppm) = ppm(metric.value)
            {
                activities.insert(number, ppm);
            }
            self.samples.insert(number, now);
        }
        activities
    }
}

/// A share in percent, as the driver tells it.
fn ppm(percent: f64) -> Option<u32> {
    let ppm = (percent * 10_000.0).round();
    // A share of a second sample that came too early is no number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=1_000_100.0).contains(&ppm).then(|| (ppm as u32).min(1_000_000))
}

fn instance(part: &Device) -> Result<Instance, NvmlError> {
    let (gpu_instance, compute_instance) = instance_ids(part)?;
    let name = part.name()?;
    let profile = name.rsplit_once(" MIG ").map_or("", |(_, profile)| profile);
    let slices = part.attributes().map(|attributes| attributes.compute_instance_slice_count);
    Ok(Instance {
        uuid: part.uuid()?.as_str().into(),
        gpu_instance,
        compute_instance,
        profile: profile.into(),
        slices: slices.ok().filter(|slices| *slices > 0).unwrap_or_else(|| slices_of(profile)),
        activity: None,
    })
}

/// `1g.10gb`, and of a part of an instance `1c.3g.40gb`: the compute slices stand first.
fn slices_of(profile: &str) -> u32 {
    let digits = profile.split_once(['c', 'g']).map_or("", |(digits, _)| digits);
    digits.parse().ok().filter(|slices| *slices > 0).unwrap_or(1)
}

/// Processes by the instances that they run on. How much each did is not told.
fn on_parts(contexts: &[Context], instances: &[Instance]) -> Vec<Process> {
    let place = |context: &Context| {
        let part = instances
            .iter()
            .find(|part| context.instance == Some((part.gpu_instance, part.compute_instance)))?;
        Some(Process { pid: context.pid, instance: part.uuid.clone(), used: None })
    };
    contexts.iter().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_of_a_profile_stand_in_its_name() {
        for (profile, slices) in [
            ("1g.10gb", 1),
            ("4g.40gb", 4),
            ("1c.3g.40gb", 1),
            ("2c.7g.80gb", 2),
            ("7g.80gb", 7),
            ("", 1),
            ("?g", 1),
        ] {
            assert_eq!(slices_of(profile), slices, "{profile}");
        }
    }

    #[test]
    fn a_share_that_is_none_is_left_out() {
        for (percent, expected) in [
            (0.0, Some(0)),
            (37.5, Some(375_000)),
            (100.0, Some(1_000_000)),
            (100.004, Some(1_000_000)),
            (101.0, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(ppm(percent), expected, "{percent}");
        }
    }
}
