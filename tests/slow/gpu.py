"""Prints what NVIDIA's own bindings read of the library that the linker finds."""

import pynvml as nvml


def attempt(words, ask):
    try:
        answer = ask()
        print(words, answer) if answer is not None else None
    except nvml.NVMLError as error:
        print(words, error)


def processes(device):
    return [(each.pid, each.gpuInstanceId if each.gpuInstanceId != 0xFFFFFFFF else None)
            for each in nvml.nvmlDeviceGetComputeRunningProcesses(device)]


def utilization(device, since):
    return [(each.pid, each.timeStamp, each.smUtil)
            for each in nvml.nvmlDeviceGetProcessUtilization(device, since)]


def instance(number, device):
    part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, 0)
    attributes = nvml.nvmlDeviceGetAttributes_v2(part)
    print(number, "instance", nvml.nvmlDeviceGetName(part), nvml.nvmlDeviceGetUUID(part),
          "gi", nvml.nvmlDeviceGetGpuInstanceId(part), "ci", nvml.nvmlDeviceGetComputeInstanceId(part),
          "slices", attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount)
    attempt(f"{number} instance energy", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(part))
    print(number, "instance processes", processes(part))


def module(device):
    value = nvml.nvmlDeviceGetFieldValues(device, [(nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_POWER_SCOPE_MODULE)])[0]
    return value.value.uiVal if value.nvmlReturn == 0 else None


def show(number):
    device = nvml.nvmlDeviceGetHandleByIndex(number)
    bus = nvml.nvmlDeviceGetPciInfo(device).busId
    print(number, nvml.nvmlDeviceGetName(device), nvml.nvmlDeviceGetUUID(device), bus,
          "minor", nvml.nvmlDeviceGetMinorNumber(device))
    attempt(f"{number} energy", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(device))
    attempt(f"{number} power", lambda: f"{nvml.nvmlDeviceGetPowerUsage(device)} limit "
                                       f"{nvml.nvmlDeviceGetEnforcedPowerLimit(device)}")
    print(number, "processes", processes(device))
    attempt(f"{number} utilization", lambda: utilization(device, 0))
    if number == 0:
        attempt("0 utilization since 1000", lambda: utilization(device, 1000))
        attempt("0 utilization since 2000", lambda: utilization(device, 2000))
    attempt(f"{number} mig", lambda: nvml.nvmlDeviceGetMigMode(device)[0])
    if number == 1:
        instance(number, device)
    attempt(f"{number} module", lambda: module(device))


nvml.nvmlInit()
print("driver", nvml.nvmlSystemGetDriverVersion())
print("count", nvml.nvmlDeviceGetCount())
for index in range(nvml.nvmlDeviceGetCount()):
    attempt(str(index), lambda: show(index))
nvml.nvmlShutdown()
