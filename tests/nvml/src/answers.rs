//! The functions of NVML, in its own names.

use crate::machine::{Subject, handle, init, is_current, is_seen, now_ms, place, shutdown, subject, system};
use crate::scenario::{Process, Sample};
use nvml_wrapper_sys::bindings::*;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong};

type Answer = Result<(), nvmlReturn_t>;

const OK: nvmlReturn_t = nvmlReturn_enum_NVML_SUCCESS;
const INVALID: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
const NOT_SUPPORTED: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
const LOST: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
const NOT_FOUND: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
const TOO_SMALL: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;

/// The scopes of power.
const MODULE: c_uint = NVML_POWER_SCOPE_MODULE;

/// No GPU instance.
const NONE: c_uint = c_uint::MAX;

/// A GPU is divided into so many parts at the most.
const MAX_PARTS: c_uint = 7;

fn code(answer: Answer) -> nvmlReturn_t {
    answer.err().unwrap_or(OK)
}

/// Puts a value where the caller wants it.
unsafe fn put<T>(to: *mut T, value: T) -> Answer {
    if to.is_null() {
        return Err(INVALID);
    }
    // SAFETY: NVML's callers hand over places that can be written.
    unsafe { to.write(value) };
    Ok(())
}

unsafe fn put_text(to: *mut c_char, room: c_uint, text: &str) -> Answer {
    if to.is_null() {
        return Err(INVALID);
    }
    if text.len() >= room as usize {
        return Err(TOO_SMALL);
    }
    // SAFETY: there is room for the text and the zero behind it.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}

/// Fills a caller's list: says how long it is, and is content only with one that is long enough.
unsafe fn put_list<T>(to: *mut T, count: *mut c_uint, list: Vec<T>, is_empty_an_answer: bool) -> Answer {
    if count.is_null() {
        return Err(INVALID);
    }
    let length = c_uint::try_from(list.len()).map_err(|_| INVALID)?;
    // SAFETY: the caller's counter holds the room in its list, which is that long.
    unsafe {
        let room = count.read();
        count.write(length);
        if is_empty_an_answer && length == 0 {
            return Ok(());
        }
        if to.is_null() || room < length {
            return Err(TOO_SMALL);
        }
        for (place, item) in list.into_iter().enumerate() {
            to.add(place).write(item);
        }
    }
    Ok(())
}

/// A function of NVML: its name, what is handed to it, and what it does.
macro_rules! answers {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),*) $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $kind),*) -> nvmlReturn_t {
                let answer = || -> Answer { $body };
                code(answer())
            }
        )*
    };
}

answers! {
    fn nvmlInit_v2() { init("nvmlInit_v2") }

    fn nvmlInit() { init("nvmlInit") }

    fn nvmlInitWithFlags(_flags: c_uint) { init("nvmlInitWithFlags") }

    fn nvmlShutdown() { shutdown() }

    fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) {
        let scenario = system("nvmlSystemGetDriverVersion")?;
        unsafe { put_text(version, length, &scenario.driver) }
    }

    fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) {
        let scenario = system("nvmlSystemGetNVMLVersion")?;
        unsafe { put_text(version, length, &format!("13.{}", scenario.driver)) }
    }

    fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) {
        system("nvmlSystemGetCudaDriverVersion_v2")?;
        unsafe { put(version, 13_000) }
    }

    fn nvmlDeviceGetCount_v2(count: *mut c_uint) {
        let scenario = system("nvmlDeviceGetCount_v2")?;
        unsafe { put(count, scenario.devices.iter().filter(|device| is_seen(device)).count() as c_uint) }
    }

    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut nvmlDevice_t) {
        let scenario = system("nvmlDeviceGetHandleByIndex_v2")?;
        let mut seen = scenario.devices.iter().filter(|device| is_seen(device));
        let device = seen.nth(index as usize).ok_or(INVALID)?;
        if device.error != 0 {
            return Err(device.error);
        }
        if !is_current(device) {
            return Err(LOST);
        }
        unsafe { put(to, handle(&device.uuid)) }
    }

    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, to: *mut nvmlDevice_t) {
        let scenario = system("nvmlDeviceGetHandleByUUID")?;
        if uuid.is_null() {
            return Err(INVALID);
        }
        let uuid = unsafe { CStr::from_ptr(uuid) }.to_str().map_err(|_| INVALID)?;
        let (index, _) = place(&scenario, uuid).ok_or(NOT_FOUND)?;
        let device = &scenario.devices[index];
        match device.error {
            0 if !is_seen(device) => Err(NOT_FOUND),
            0 if !is_current(device) => Err(LOST),
            0 => unsafe { put(to, handle(uuid)) },
            error => Err(error),
        }
    }

    fn nvmlDeviceGetHandleByPciBusId_v2(bus: *const c_char, to: *mut nvmlDevice_t) {
        let scenario = system("nvmlDeviceGetHandleByPciBusId_v2")?;
        if bus.is_null() {
            return Err(INVALID);
        }
        let bus = unsafe { CStr::from_ptr(bus) }.to_str().map_err(|_| INVALID)?;
        let device = scenario.devices.iter().find(|device| device.pci == bus && is_seen(device)).ok_or(NOT_FOUND)?;
        unsafe { put(to, handle(&device.uuid)) }
    }

    fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) {
        let subject = subject("nvmlDeviceGetIndex", device)?;
        unsafe { put(index, subject.instance.unwrap_or(subject.index) as c_uint) }
    }

    fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
        let subject = subject("nvmlDeviceGetName", device)?;
        let text = match subject.instance() {
            Some(part) => format!("{} MIG {}", subject.device().name, part.profile),
            None => subject.device().name.clone(),
        };
        unsafe { put_text(name, length, &text) }
    }

    fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
        let subject = subject("nvmlDeviceGetUUID", device)?;
        let text = subject.instance().map_or(&subject.device().uuid, |part| &part.uuid);
        unsafe { put_text(uuid, length, text) }
    }

    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, pci: *mut nvmlPciInfo_t) {
        let subject = subject("nvmlDeviceGetPciInfo_v3", device)?;
        let text = &subject.device().pci;
        let number = |text: Option<&str>| text.and_then(|text| c_uint::from_str_radix(text, 16).ok());
        let mut parts = text.split([':', '.']);
        let mut next = || number(parts.next()).unwrap_or(0);
        let mut info: nvmlPciInfo_t = unsafe { std::mem::zeroed() };
        (info.domain, info.bus, info.device) = (next(), next(), next());
        info.pciDeviceId = 0x2330_10de;
        for (to, from) in info.busId.iter_mut().zip(text.bytes().take(31)) {
            *to = from as c_char;
        }
        for (to, from) in info.busIdLegacy.iter_mut().zip(text.bytes().skip(4).take(15)) {
            *to = from as c_char;
        }
        unsafe { put(pci, info) }
    }

    fn nvmlDeviceGetMinorNumber(device: nvmlDevice_t, minor: *mut c_uint) {
        let subject = subject("nvmlDeviceGetMinorNumber", device)?;
        unsafe { put(minor, subject.whole()?.minor) }
    }

    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, power: *mut c_uint) {
        let subject = subject("nvmlDeviceGetPowerUsage", device)?;
        if subject.whole()?.module_mw.is_some() {
            return Err(NOT_SUPPORTED);
        }
        unsafe { put(power, subject.scenario.power(subject.index, now_ms()) as c_uint) }
    }

    fn nvmlDeviceGetTotalEnergyConsumption(device: nvmlDevice_t, energy: *mut c_ulonglong) {
        let subject = subject("nvmlDeviceGetTotalEnergyConsumption", device)?;
        let whole = subject.whole()?;
        if !whole.has_energy || whole.module_mw.is_some() {
            return Err(NOT_SUPPORTED);
        }
        unsafe { put(energy, subject.scenario.energy(subject.index, now_ms())) }
    }

    fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, limit: *mut c_uint) {
        let subject = subject("nvmlDeviceGetEnforcedPowerLimit", device)?;
        unsafe { put(limit, subject.whole()?.limit_mw) }
    }

    fn nvmlDeviceGetPowerManagementLimit(device: nvmlDevice_t, limit: *mut c_uint) {
        let subject = subject("nvmlDeviceGetPowerManagementLimit", device)?;
        unsafe { put(limit, subject.whole()?.limit_mw) }
    }

    fn nvmlDeviceGetPowerManagementLimitConstraints(
        device: nvmlDevice_t,
        least: *mut c_uint,
        most: *mut c_uint
    ) {
        let subject = subject("nvmlDeviceGetPowerManagementLimitConstraints", device)?;
        let limit = subject.whole()?.limit_mw;
        unsafe {
            put(least, limit / 4)?;
            put(most, limit)
        }
    }

    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, rates: *mut nvmlUtilization_t) {
        let subject = subject("nvmlDeviceGetUtilizationRates", device)?;
        let whole = subject.whole()?;
        if whole.mig.as_ref().is_some_and(|mig| mig.is_on) {
            return Err(NOT_SUPPORTED);
        }
        unsafe { put(rates, nvmlUtilization_t { gpu: whole.utilization, memory: 0 }) }
    }

    fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, memory: *mut nvmlMemory_t) {
        subject("nvmlDeviceGetMemoryInfo", device)?;
        unsafe { put(memory, nvmlMemory_t { total: 80 << 30, free: 79 << 30, used: 1 << 30 }) }
    }

    fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: nvmlDevice_t,
        count: *mut c_uint,
        list: *mut nvmlProcessInfo_t
    ) {
        let subject = subject("nvmlDeviceGetComputeRunningProcesses_v3", device)?;
        unsafe { put_list(list, count, processes(&subject), true) }
    }

    fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        device: nvmlDevice_t,
        count: *mut c_uint,
        list: *mut nvmlProcessInfo_t
    ) {
        subject("nvmlDeviceGetGraphicsRunningProcesses_v3", device)?;
        unsafe { put_list(list, count, Vec::new(), true) }
    }

    fn nvmlDeviceGetProcessUtilization(
        device: nvmlDevice_t,
        list: *mut nvmlProcessUtilizationSample_t,
        count: *mut c_uint,
        last_seen: c_ulonglong
    ) {
        let subject = subject("nvmlDeviceGetProcessUtilization", device)?;
        let whole = subject.whole()?;
        let is_divided = whole.mig.as_ref().is_some_and(|mig| mig.is_on);
        let samples = whole.samples.as_ref().filter(|_| !is_divided).ok_or(NOT_SUPPORTED)?;
        let is_new = |sample: &&Sample| whole.redelivers || sample.time_us > last_seen;
        let samples: Vec<_> = samples.iter().filter(is_new).map(utilization).collect();
        if samples.is_empty() {
            return Err(NOT_FOUND);
        }
        unsafe { put_list(list, count, samples, false) }
    }

    fn nvmlDeviceGetFieldValues(device: nvmlDevice_t, count: c_int, values: *mut nvmlFieldValue_t) {
        let subject = subject("nvmlDeviceGetFieldValues", device)?;
        if values.is_null() || count < 1 {
            return Err(INVALID);
        }
        let values = unsafe { std::slice::from_raw_parts_mut(values, count as usize) };
        values.iter_mut().for_each(|value| fill(value, &subject));
        Ok(())
    }

    fn nvmlDeviceGetSamples(
        device: nvmlDevice_t,
        kind: c_uint,
        _last_seen: c_ulonglong,
        value_type: *mut c_uint,
        count: *mut c_uint,
        list: *mut nvmlSample_t
    ) {
        let subject = subject("nvmlDeviceGetSamples", device)?;
        if kind != 0 {
            return Err(NOT_SUPPORTED);
        }
        let power = subject.scenario.power(subject.index, now_ms()) as c_uint;
        unsafe { put(value_type, nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT)? };
        if list.is_null() {
            return unsafe { put(count, 1) };
        }
        let sample = nvmlSample_t { timeStamp: now_ms() * 1_000, sampleValue: nvmlValue_t { uiVal: power } };
        unsafe { put_list(list, count, vec![sample], false) }
    }

    fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        let subject = subject("nvmlDeviceGetMigMode", device)?;
        let mode = c_uint::from(subject.whole()?.mig.as_ref().ok_or(NOT_SUPPORTED)?.is_on);
        unsafe {
            put(current, mode)?;
            put(pending, mode)
        }
    }

    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        let subject = subject("nvmlDeviceGetMaxMigDeviceCount", device)?;
        unsafe { put(count, if subject.whole()?.mig.is_some() { MAX_PARTS } else { 0 }) }
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, to: *mut nvmlDevice_t) {
        let subject = subject("nvmlDeviceGetMigDeviceHandleByIndex", device)?;
        let mig = subject.whole()?.mig.as_ref().filter(|mig| mig.is_on).ok_or(NOT_SUPPORTED)?;
        if index >= MAX_PARTS {
            return Err(INVALID);
        }
        let part = mig.instances.get(index as usize).ok_or(NOT_FOUND)?;
        unsafe { put(to, handle(&part.uuid)) }
    }

    fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is_mig: *mut c_uint) {
        let subject = subject("nvmlDeviceIsMigDeviceHandle", device)?;
        unsafe { put(is_mig, c_uint::from(subject.instance.is_some())) }
    }

    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device: nvmlDevice_t, to: *mut nvmlDevice_t) {
        let subject = subject("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device)?;
        subject.part()?;
        unsafe { put(to, handle(&subject.device().uuid)) }
    }

    fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, id: *mut c_uint) {
        let subject = subject("nvmlDeviceGetGpuInstanceId", device)?;
        unsafe { put(id, subject.part()?.gpu_instance) }
    }

    fn nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, id: *mut c_uint) {
        let subject = subject("nvmlDeviceGetComputeInstanceId", device)?;
        unsafe { put(id, subject.part()?.compute_instance) }
    }

    fn nvmlDeviceGetAttributes_v2(device: nvmlDevice_t, to: *mut nvmlDeviceAttributes_t) {
        let subject = subject("nvmlDeviceGetAttributes_v2", device)?;
        let part = subject.instance().ok_or(NOT_SUPPORTED)?;
        let mut attributes: nvmlDeviceAttributes_t = unsafe { std::mem::zeroed() };
        let own = if part.compute_slices == 0 { part.slices } else { part.compute_slices };
        attributes.multiprocessorCount = 16 * own;
        attributes.gpuInstanceSliceCount = part.slices;
        attributes.computeInstanceSliceCount = own;
        attributes.memorySizeMB = 10_240 * u64::from(part.slices);
        unsafe { put(to, attributes) }
    }

    fn nvmlGpmQueryDeviceSupport(device: nvmlDevice_t, support: *mut nvmlGpmSupport_t) {
        let subject = subject("nvmlGpmQueryDeviceSupport", device)?;
        let is_there = c_uint::from(subject.device().has_gpm);
        unsafe { put(support, nvmlGpmSupport_t { version: 1, isSupportedDevice: is_there }) }
    }

    fn nvmlGpmSampleAlloc(to: *mut nvmlGpmSample_t) {
        system("nvmlGpmSampleAlloc")?;
        unsafe { put(to, Box::into_raw(Box::new(0.0_f64)).cast()) }
    }

    fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) {
        if !sample.is_null() {
            // SAFETY: what is handed back was given by nvmlGpmSampleAlloc.
            drop(unsafe { Box::from_raw(sample.cast::<f64>()) });
        }
        Ok(())
    }

    fn nvmlGpmMigSampleGet(device: nvmlDevice_t, gpu_instance: c_uint, sample: nvmlGpmSample_t) {
        let subject = subject("nvmlGpmMigSampleGet", device)?;
        let whole = subject.whole()?;
        let mig = whole.mig.as_ref().filter(|mig| mig.is_on && whole.has_gpm).ok_or(NOT_SUPPORTED)?;
        let part = mig.instances.iter().find(|part| part.gpu_instance == gpu_instance).ok_or(INVALID)?;
        unsafe { put(sample.cast::<f64>(), part.activity) }
    }

    /// The activity of the later sample: what was scripted when it was taken.
    fn nvmlGpmMetricsGet(request: *mut nvmlGpmMetricsGet_t) {
        system("nvmlGpmMetricsGet")?;
        if request.is_null() {
            return Err(INVALID);
        }
        let request = unsafe { &mut *request };
        if request.version != NVML_GPM_METRICS_GET_VERSION {
            return Err(nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let (first, second) = (request.sample1.cast::<f64>(), request.sample2.cast::<f64>());
        if first.is_null() || second.is_null() {
            return Err(INVALID);
        }
        let activity = unsafe { second.read() };
        for metric in request.metrics.iter_mut().take(request.numMetrics as usize) {
            let is_known = matches!(metric.metricId, 1 | 2);
            metric.nvmlReturn = if is_known { OK } else { NOT_SUPPORTED };
            metric.value = activity;
        }
        Ok(())
    }
}

fn processes(subject: &Subject) -> Vec<nvmlProcessInfo_t> {
    let part = subject.instance();
    let is_here = |process: &&Process| match part {
        Some(part) => {
            process.gpu_instance == Some(part.gpu_instance)
                && process.compute_instance == Some(part.compute_instance)
        }
        None => true,
    };
    let info = |process: &Process| nvmlProcessInfo_t {
        pid: process.pid,
        usedGpuMemory: 1 << 30,
        gpuInstanceId: process.gpu_instance.unwrap_or(NONE),
        computeInstanceId: process.compute_instance.unwrap_or(NONE),
    };
    subject.device().processes.iter().filter(is_here).map(info).collect()
}

fn utilization(sample: &Sample) -> nvmlProcessUtilizationSample_t {
    nvmlProcessUtilizationSample_t {
        pid: sample.pid,
        timeStamp: sample.time_us,
        smUtil: sample.sm,
        memUtil: 0,
        encUtil: 0,
        decUtil: 0,
    }
}

/// Power by scope: average, and what it is now.
fn fill(value: &mut nvmlFieldValue_t, subject: &Subject) {
    let is_power = matches!(value.fieldId, 185 | 186);
    let module = subject.device().module_mw;
    let power = match (subject.instance, value.scopeId, module) {
        (Some(_), _, _) => None,
        (None, MODULE, module) => module.map(u64::from),
        (None, 0, None) => Some(subject.scenario.power(subject.index, now_ms())),
        (None, _, _) => None,
    };
    value.latencyUsec = 1;
    match power.filter(|_| is_power) {
        Some(power) => {
            value.valueType = nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
            value.value = nvmlValue_t { uiVal: power as c_uint };
            value.nvmlReturn = OK;
        }
        None => value.nvmlReturn = NOT_SUPPORTED,
    }
}

/// The words for an answer.
///
/// # Safety
/// It is safe; it stands here in C's manner.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: nvmlReturn_t) -> *const c_char {
    let text: &CStr = match code {
        nvmlReturn_enum_NVML_SUCCESS => c"Success",
        nvmlReturn_enum_NVML_ERROR_UNINITIALIZED => c"Uninitialized",
        INVALID => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        nvmlReturn_enum_NVML_ERROR_NO_PERMISSION => c"Insufficient Permissions",
        NOT_FOUND => c"Not Found",
        TOO_SMALL => c"Insufficient Size",
        nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED => c"Driver Not Loaded",
        nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST => c"GPU is lost",
        nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH => c"Driver/library version mismatch",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}
