//! The four questions that `nvml-wrapper` does not ask, or asks in two calls where one is enough, and a new
//! start without a new library. The only unsafe code of the program.

#![allow(unsafe_code)]

use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    NVML_POWER_SCOPE_MODULE, field_id::NVML_FI_DEV_POWER_AVERAGE, nvmlDevice_t, nvmlFieldValue_t,
    nvmlProcessInfo_t, nvmlReturn_t, nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
};
use std::ffi::c_uint;

/// One call has room for so many; more are asked for again.
const USUAL_PROCESSES: usize = 32;

/// More contexts than that on one device are not looked at.
pub(super) const MAX_PROCESSES: usize = 1_024;

/// A process with a context on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) pid: u32,
    /// GPU and compute instance, on a device that is divided.
    pub(super) instance: Option<(u32, u32)>,
}

/// Everybody with a compute context, by one call where they are few.
pub(super) fn contexts(device: &Device) -> Result<Vec<Context>, NvmlError> {
    let ask = nvml_sym(device.nvml().lib().nvmlDeviceGetComputeRunningProcesses_v3.as_ref())?;
    for room in [USUAL_PROCESSES, MAX_PROCESSES] {
        let mut list = vec![EMPTY; room];
        let mut count = c_uint::try_from(room).expect("a thousand");
        // SAFETY: the handle is of this session, which lives as long as `device`; the list has room for
        // `count` entries, each of which is plain data that any bits make.
        let code = unsafe { ask(device.handle(), &raw mut count, list.as_mut_ptr()) };
        match nvml_try(code) {
            Ok(()) => {
                list.truncate(usize::try_from(count).unwrap_or(0));
                return Ok(list.iter().map(context).collect());
            }
            Err(NvmlError::InsufficientSize(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(NvmlError::InsufficientSize(None))
}

const EMPTY: nvmlProcessInfo_t =
    nvmlProcessInfo_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: u32::MAX, computeInstanceId: u32::MAX };

fn context(info: &nvmlProcessInfo_t) -> Context {
    let is_divided = info.gpuInstanceId != u32::MAX;
    Context { pid: info.pid, instance: is_divided.then_some((info.gpuInstanceId, info.computeInstanceId)) }
}

/// The mean power of the module around a device, in mW: processor and GPU of a superchip together.
pub(super) fn module_power(device: &Device) -> Result<u32, NvmlError> {
    let ask = nvml_sym(device.nvml().lib().nvmlDeviceGetFieldValues.as_ref())?;
    // SAFETY: a structure of plain numbers, for which zeros are values.
    let mut value: nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    value.fieldId = NVML_FI_DEV_POWER_AVERAGE;
    value.scopeId = NVML_POWER_SCOPE_MODULE;
    // SAFETY: the handle as above; there is one value, and it may be written.
    nvml_try(unsafe { ask(device.handle(), 1, &raw mut value) })?;
    nvml_try(value.nvmlReturn)?;
    if value.valueType != nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT {
        return Err(NvmlError::UnexpectedVariant(value.valueType));
    }
    // SAFETY: the union holds what its type says, and any bits make a number.
    Ok(unsafe { value.value.uiVal })
}

/// The numbers of an instance's GPU instance and compute instance.
pub(super) fn instance_ids(part: &Device) -> Result<(u32, u32), NvmlError> {
    let lib = part.nvml().lib();
    let gpu = nvml_sym(lib.nvmlDeviceGetGpuInstanceId.as_ref())?;
    let compute = nvml_sym(lib.nvmlDeviceGetComputeInstanceId.as_ref())?;
    Ok((number(part, *gpu)?, number(part, *compute)?))
}

/// Shuts the library down and initialises it again. Whoever calls it has it to himself, so that no handle of
/// before lives on: each borrows it. If it fails, the library is shut down, and what it is asked is refused.
pub(super) fn start_anew(nvml: &mut Nvml) -> Result<(), NvmlError> {
    let lib = nvml.lib();
    let shut_down = nvml_sym(lib.nvmlShutdown.as_ref())?;
    let init = nvml_sym(lib.nvmlInit_v2.as_ref())?;
    // SAFETY: neither takes anything, and nobody else uses the library meanwhile.
    unsafe {
        nvml_try(shut_down())?;
        nvml_try(init())
    }
}

type Ask = unsafe extern "C" fn(nvmlDevice_t, *mut c_uint) -> nvmlReturn_t;

fn number(device: &Device, ask: Ask) -> Result<u32, NvmlError> {
    let mut number = 0;
    // SAFETY: the handle as above; the number may be written.
    nvml_try(unsafe { ask(device.handle(), &raw mut number) })?;
    Ok(number)
}
