"""A small fleet of made-up machines, and the pages that exporters on them would show: `history.py` writes them."""

import math
import time

STEP = 60
HOUR = 3600
NAMESPACES = [
    "shop",
    "search",
    "payments",
    "kube-system",
    "monitoring",
    "data",
    "mail",
    "ads",
    "training",
    "web",
    "auth",
]
ACCOUNTS = ["climate", "genomics", "vision", "astro", "chem", "fluids"]
USERS = ["ada", "grace", "edsger", "barbara", "tony", "donald"]
WHOLE, DIVIDED = "GPU-6a1f0c52-91d4-4f0e-9b55-0c2d5a7e1001", "GPU-6a1f0c52-91d4-4f0e-9b55-0c2d5a7e1002"
ZONES = {"atlas": "DE", "borealis": "FR"}
# Mean intensity and its daily swing; the relay knows two zones in which no machine stands.
GRID = {"DE": (340, 130), "FR": (48, 18), "SE": (26, 7), "PL": (640, 90)}
PUE = 1.25


def wave(t, hours=24.0, phase=0.0):
    """Between 0 and 1, over so many hours."""
    return 0.5 + 0.5 * math.sin(2 * math.pi * (t / HOUR / hours + phase))


def intensity(zone, t):
    mean, swing = GRID[zone]
    return mean + swing * (wave(t, 24, 0.1) - 0.5) * 2 + 0.15 * swing * (wave(t, 5.3) - 0.5)


class Job:
    """What runs on a host, from its birth to its end."""

    def __init__(self, kind, job, info, groups, weight, phase, start=0.0, end=math.inf, gpu=None):
        self.kind, self.id, self.info, self.groups = kind, job, info, groups
        self.weight, self.phase, self.start, self.end, self.gpu = weight, phase, start, end, gpu

    def load(self, t):
        return self.weight * (0.3 + 0.7 * wave(t, 3 + self.phase * 5, self.phase))


class Host:
    """One machine: what it draws, who uses it, and its page."""

    def __init__(self, number):
        self.cluster = "borealis" if number % 3 == 2 else "atlas"
        self.name = f"{self.cluster}-{number:02}"
        self.number, self.zone = number, ZONES[self.cluster]
        self.has_gpus = number % 3 == 0
        self.is_estimated = number % 4 == 3
        self.target = f'cluster="{self.cluster}",instance="{self.name}",job="jouleprint"'
        self.keys, self.page = {}, {}
        self.energy = self.emissions = 0.0
        self.groups = {}
        # It does not change while it counts: a new one tells that counters began again.
        self.born = int(time.time()) - 86400 * 70 - number * 5000

    def jobs(self, t):
        """Those that live at a time: services for good, batch jobs one after the other."""
        made = []
        seed = self.number
        if self.cluster == "borealis":
            for slot in range(6):
                length = (2 + slot) * HOUR
                turn = int((t + slot * 1700 + seed * 400) // length)
                start = turn * length - slot * 1700 - seed * 400
                account, user = ACCOUNTS[(turn + slot) % 6], USERS[(turn * 5 + slot) % 6]
                number = f"main.{9000 + turn % 5000 * 6 + slot}"
                info = {
                    "slurm_job_name": f"{account}-run",
                    "slurm_account": account,
                    "slurm_partition": "batch",
                    "slurm_cluster_name": "main",
                    "user_name": user,
                    "project": f"{account}-2026",
                }
                groups = {"namespace": "", "slurm_account": account, "user": user}
                made.append(Job("slurm", number, info, groups, 1 + slot % 3, slot / 6, start, start + length))
            return made
        for place, namespace in enumerate(NAMESPACES):
            uid = f"{place:08x}-{seed:04x}-4c5e-8f00-3a5d1e2b{place * 257 + seed:04x}"
            name = f"{namespace}-{'api' if place % 2 else 'worker'}-7d9c{place:x}{seed:x}"
            info = {
                "k8s_namespace_name": namespace,
                "k8s_pod_name": name,
                "k8s_workload_kind": "Deployment",
                "k8s_workload_name": name[:-6],
                "project": "platform" if place % 2 else "product",
            }
            gpu = (
                {8: (WHOLE, ""), 5: (DIVIDED, "MIG-3g-0"), 3: (DIVIDED, "MIG-1g-7")}.get(place)
                if self.has_gpus
                else None
            )
            made.append(
                Job(
                    "pod",
                    uid,
                    info,
                    {"namespace": namespace, "slurm_account": "", "user": ""},
                    0.5 + place % 4,
                    place / 11,
                    gpu=gpu,
                )
            )
        length = 5400
        turn = int((t + seed * 700) // length)
        start = turn * length - seed * 700
        info = {
            "k8s_namespace_name": "data",
            "k8s_pod_name": f"nightly-etl-{turn % 10000}",
            "k8s_workload_kind": "Job",
            "k8s_workload_name": "nightly-etl",
            "project": "product",
        }
        made.append(
            Job(
                "pod",
                f"{turn % 65536:08x}-{seed:04x}-4c5e-9f00-3a5d1e2b0000",
                info,
                {"namespace": "data", "slurm_account": "", "user": ""},
                4,
                0.4,
                start,
                start + length,
            )
        )
        made.append(
            Job(
                "unit",
                "kubelet.service",
                {"systemd_unit": "kubelet.service", "systemd_slice": "system.slice"},
                {"namespace": "", "slurm_account": "", "user": ""},
                0.4,
                0.2,
            )
        )
        return made

    def key(self, name, **labels):
        """The series' name with its labels and the target's; empty ones are not written."""
        known = (name, *labels.items())
        if known not in self.keys:
            inner = "".join(f'{label}="{value}",' for label, value in labels.items() if value != "")
            self.keys[known] = f"{name}{{{inner}{self.target}}}"
        return self.keys[known]

    def set(self, name, value, **labels):
        self.page[self.key(name, **labels)] = value

    def add(self, name, value, **labels):
        key = self.key(name, **labels)
        self.page[key] = self.page.get(key, 0.0) + value

    def charge(self, whose, joules, grams, **labels):
        """Energy and grams of a job or of a residual account."""
        self.add(f"jouleprint_{whose}_energy_joules_total", joules, host=self.name, **labels)
        self.add(
            f"jouleprint_{whose}_emissions_co2e_grams_total",
            grams,
            host=self.name,
            **labels,
            grid_zone=self.zone,
        )

    def step(self, t, seconds):
        """What happens in the time up to `t`."""
        share = intensity(self.zone, t) * PUE / 3.6e6
        jobs = self.jobs(t)
        loads = {job.id: job.load(t) for job in jobs}
        busy = sum(loads.values())
        swing = 0.35 + 0.65 * wave(t, 24, 0.75 + self.number / 40)
        origin = "estimated" if self.is_estimated else "measured"
        total = 0.0

        def meter(kind, meter_id, gpu, how, idle, active, split):
            nonlocal total
            joules = (idle + active) * seconds
            total += joules
            self.add(
                "hw_energy_joules_total",
                joules,
                host=self.name,
                hw_type=kind,
                hw_id=meter_id,
                gpu=gpu,
                origin=how,
            )
            self.set(
                "hw_power_watts",
                idle + active,
                host=self.name,
                hw_type=kind,
                hw_id=meter_id,
                gpu=gpu,
                origin=how,
            )
            self.set(
                "jouleprint_idle_floor_watts",
                idle,
                host=self.name,
                hw_type=kind,
                hw_id=meter_id,
                gpu=gpu,
                origin=how,
                method="model" if how == "estimated" else "learnt",
            )
            common = {"hw_type": kind, "gpu": gpu, "origin": how}
            parts = [
                ("idle", idle),
                ("system", active * 0.06),
                ("unattributed", active * 0.002),
                ("ended", 0.0),
                ("overflow", 0.0),
            ]
            for account, watts in parts:
                self.charge("residual", watts * seconds, watts * seconds * share, account=account, **common)
            self.set(
                "jouleprint_retired_energy_joules",
                self.page.get(self.key("jouleprint_retired_energy_joules", host=self.name, **common), 0.0),
                host=self.name,
                **common,
            )
            for kind_of_group in ("namespace", "slurm_account", "user"):
                self.group(kind_of_group, "", (idle + active * 0.062) * seconds, share, common)
            left = active * 0.938
            for job, part, instance in split:
                used = left * part * seconds
                self.charge(
                    "job",
                    used,
                    used * share,
                    job_kind=job.kind,
                    job_id=job.id,
                    hw_type=kind,
                    gpu=gpu,
                    gpu_instance=instance,
                    origin=how,
                )
                for kind_of_group, group in job.groups.items():
                    self.group(kind_of_group, group, used, share, common)

        by_load = [(job, loads[job.id] / busy, "") for job in jobs]
        size = 90 + 40 * (self.number % 3)
        meter("cpu", "package-0", "", origin, 28, size * swing, by_load)
        if not self.is_estimated:
            meter("cpu", "package-1", "", origin, 27, size * swing * 0.9, by_load)
            self.add(
                "jouleprint_domain_energy_joules_total",
                size * swing * 0.6 * seconds,
                host=self.name,
                hw_id="package-0-core",
                parent="package-0",
            )
            meter("other", "other", "", origin, 60, 12 * swing, by_load)
        meter("memory", "memory", "", "estimated" if self.number % 3 == 0 else origin, 18, 0, [])
        self.set(
            "jouleprint_estimate_uncertainty_ratio",
            0.35,
            host=self.name,
            hw_type="memory",
            hw_id="memory",
            origin="estimated",
        )
        if self.has_gpus:
            holders = {job.gpu: job for job in jobs if job.gpu}
            meter("gpu", WHOLE, WHOLE, "measured", 60, 320 * wave(t, 4), [(holders[(WHOLE, "")], 1.0, "")])
            # The second of two is given and does nothing.
            meter(
                "gpu",
                DIVIDED,
                DIVIDED,
                "measured",
                70,
                150 * wave(t, 7, 0.3),
                [
                    (holders[(DIVIDED, "MIG-3g-0")], 1.0, "MIG-3g-0"),
                    (holders[(DIVIDED, "MIG-1g-7")], 0.0, "MIG-1g-7"),
                ],
            )
            self.accelerators(holders)
        self.energy += total
        self.emissions += total * share
        kind = "estimated" if self.is_estimated else "measured"
        self.add("hw_host_energy_joules_total", total, host=self.name, hw_id="host", origin=kind)
        self.set("hw_host_power_watts", total / seconds, host=self.name, hw_id="host", origin=kind)
        self.add(
            "jouleprint_host_emissions_co2e_grams_total",
            total * share,
            host=self.name,
            hw_id="host",
            origin=kind,
            grid_zone=self.zone,
        )
        self.describe(t, seconds, jobs, loads, busy, share)
        return total, total * share

    def speak(self, t, job):
        """How far a job is that has an end, and what will have become of it then."""
        labels = {"host": self.name, "job_kind": job.kind, "job_id": job.id}
        done = (t - job.start) / (job.end - job.start)
        self.set("jouleprint_job_progress_ratio", done, **labels)
        if done < 0.05:
            return
        for name, used in (
            ("predicted_energy_joules", self.used("energy_joules_total", job)),
            ("predicted_emissions_co2e_grams", self.used("emissions_co2e_grams_total", job)),
            ("predicted_duration_seconds", t - job.start),
        ):
            # What is not done yet may come to a fifth more or less.
            for quantile, rest in (("0.1", 0.8), ("0.5", 1.0), ("0.9", 1.2)):
                whole = used * (1 + rest * (1 - done) / done)
                self.set(f"jouleprint_job_{name}", whole, **labels, quantile=quantile)

    def used(self, metric, job):
        """What a job has used on this host, of all hardware."""
        whose = {("job_kind", job.kind), ("job_id", job.id)}
        keys = [key for known, key in self.keys.items() if known[0] == f"jouleprint_job_{metric}" and whose <= set(known[1:])]
        return sum(self.page.get(key, 0.0) for key in keys)

    def group(self, kind, group, joules, share, common):
        self.add(
            "jouleprint_group_energy_joules_total",
            joules,
            host=self.name,
            group_kind=kind,
            group=group,
            **common,
        )
        self.add(
            "jouleprint_group_emissions_co2e_grams_total",
            joules * share,
            host=self.name,
            group_kind=kind,
            group=group,
            **common,
            grid_zone=self.zone,
        )
        used = self.groups.setdefault((kind, group), [0.0, 0.0])
        used[0] += joules
        used[1] += joules * share

    def accelerators(self, holders):
        for index, (gpu, method) in enumerate([(WHOLE, "exclusive"), (DIVIDED, "slice_activity")]):
            self.set(
                "jouleprint_gpu_info",
                1,
                host=self.name,
                gpu=gpu,
                hw_vendor="nvidia",
                hw_model="NVIDIA H100 80GB HBM3",
                hw_driver_version="570.124.06",
                pci_address=f"0000:{index + 1}b:00.0",
                gpu_index=str(index),
                method=method,
            )
            for source in ("nvml",):
                self.source(
                    source, gpu, 1, "", f"NVIDIA H100 80GB HBM3 at 0000:{index + 1}b:00.0: its energy counter"
                )
        for instance, profile, number in (("MIG-3g-0", "3g.40gb", "1"), ("MIG-1g-7", "1g.10gb", "7")):
            self.set(
                "jouleprint_gpu_instance_info",
                1,
                host=self.name,
                gpu=DIVIDED,
                gpu_instance=instance,
                profile=profile,
                gpu_instance_id=number,
                compute_instance_id="0",
            )
        for (gpu, instance), job in holders.items():
            part = {"": 1, "MIG-3g-0": 0.5, "MIG-1g-7": 0.125}[instance]
            self.set(
                "jouleprint_job_gpu_allocated_ratio",
                part,
                host=self.name,
                job_kind=job.kind,
                job_id=job.id,
                gpu=gpu,
                gpu_instance=instance,
            )

    def source(self, source, hw_id, up, reason, detail):
        self.set("jouleprint_source_up", up, host=self.name, source=source, hw_id=hw_id)
        self.set(
            "jouleprint_source_info",
            1,
            host=self.name,
            source=source,
            hw_id=hw_id,
            reason=reason,
            detail=detail,
        )

    def describe(self, t, seconds, jobs, loads, busy, share):
        """All of the page that is not energy."""
        host = {"host": self.name}
        live = {(job.kind, job.id) for job in jobs}
        for job in jobs:
            self.add(
                "jouleprint_job_cpu_seconds_total",
                24 * loads[job.id] / busy * seconds,
                **host,
                job_kind=job.kind,
                job_id=job.id,
            )
            self.set(
                "jouleprint_job_info",
                1,
                **host,
                job_kind=job.kind,
                job_id=job.id,
                process_linux_cgroup=f"/{job.kind}/{job.id}",
                **job.info,
            )
            if job.end < math.inf:
                self.speak(t, job)
        # What has ended leaves the page, and its energy goes to what is retired.
        for known in [known for known in self.keys if known[0].startswith("jouleprint_job_")]:
            labels = dict(known[1:])
            if (labels["job_kind"], labels["job_id"]) not in live:
                left = self.page.pop(self.keys.pop(known), 0.0)
                if known[0] == "jouleprint_job_energy_joules_total":
                    self.add(
                        "jouleprint_retired_energy_joules",
                        left,
                        **host,
                        hw_type=labels["hw_type"],
                        gpu=labels["gpu"],
                        origin=labels["origin"],
                    )
        self.set("jouleprint_jobs", len(jobs), **host)
        self.add(
            "jouleprint_jobs_overflow_total", 1 if self.number == 0 and t % 7200 < seconds else 0, **host
        )
        self.set("jouleprint_pue_ratio", PUE, **host)
        self.set(
            "jouleprint_host_info",
            1,
            **host,
            host_arch="amd64",
            host_cpu_model_name="AMD EPYC 9354P 32-Core Processor",
            os_version="6.8.0",
            grid_zone=self.zone,
            grid_zone_source="configuration",
        )
        self.set("jouleprint_build_info", 1, version="0.1.0")
        self.set(
            "jouleprint_emissions_revision_co2e_grams", 0.004 * self.emissions, **host, grid_zone=self.zone
        )
        self.grid(self.zone, t, "entsoe", 1 if self.zone == "FR" else 0)
        for source, hw_id, detail in (
            ("rapl", "package-0", "/sys/class/powercap/intel-rapl:0/energy_uj"),
            ("cgroup", "", "V2 /sys/fs/cgroup"),
            ("cpu", "", "/proc/stat"),
        ):
            self.source(source, hw_id, 1, "", detail)
        if self.number == 0:
            self.source(
                "redfish",
                "chassis-1",
                0,
                "unreachable",
                "connecting to https://10.0.3.17: no answer within 5 s",
            )
        for name, much in (("wraps", 1 if t % 4000 < seconds else 0), ("resets", 0)):
            self.add(f"jouleprint_meter_{name}_total", much, **host, source="rapl", hw_id="package-0")
        self.add("jouleprint_meter_gap_seconds_total", 0, **host, source="rapl", hw_id="package-0")
        self.add(
            "jouleprint_quarantined_energy_joules_total",
            0.0,
            **host,
            source="rapl",
            hw_id="package-0",
            reason="implausible",
        )
        self.add(
            "jouleprint_source_errors_total",
            2 if self.number == 0 else 0,
            **host,
            source="redfish",
            hw_id="chassis-1",
            reason="unreachable",
        )
        self.set("jouleprint_counters_start_timestamp_seconds", self.born, **host)
        self.set("jouleprint_store_up", 1, **host)
        self.set(
            "jouleprint_store_info", 1, **host, path="/var/lib/jouleprint/ledger.db", restored="continued"
        )
        self.set("jouleprint_store_last_commit_timestamp_seconds", t - 3, **host)
        self.add("jouleprint_store_commits_total", 12, **host)
        self.add("jouleprint_store_commit_duration_seconds_total", 0.02 + 0.01 * wave(t, 3), **host)
        self.add("jouleprint_store_errors_total", 0, **host, reason="locked")
        self.set("jouleprint_store_size_bytes", 2.2e6 + 3e5 * self.number + t % 86400 * 2, **host)
        self.set("jouleprint_otlp_up", 1, **host)
        for outcome, much in (
            ("accepted", 1),
            ("unreachable", 1 if self.number == 0 and t % 3600 < seconds else 0),
        ):
            self.add("jouleprint_otlp_pushes_total", much, **host, outcome=outcome)
        self.add("jouleprint_otlp_rejected_points_total", 0, **host)
        self.set("jouleprint_snapshot_timestamp_seconds", t - 2 - self.number % 3, **host)
        for bound, part in (("0.001", 2), ("0.0025", 7), ("0.005", 10), ("0.01", 12), ("+Inf", 12)):
            self.add("jouleprint_tick_duration_seconds_bucket", part, **host, le=bound)
        self.add("jouleprint_tick_duration_seconds_sum", 0.03 + 0.004 * (self.number % 5), **host)
        self.add("jouleprint_tick_duration_seconds_count", 12, **host)
        self.add("jouleprint_ticks_skipped_total", 0, **host)
        self.add("jouleprint_clock_steps_total", 0, **host)
        self.add("process_cpu_seconds_total", 0.12 + 0.05 * wave(t, 2, self.number / 7))
        self.set("process_resident_memory_bytes", 1.9e7 + 4e5 * self.number + 1e5 * wave(t, 6))
        self.set("up", 1)
        self.set("scrape_duration_seconds", 0.004 + 0.002 * wave(t, 1.3, self.number / 9))
        self.set("scrape_samples_scraped", len(self.page))

    def grid(self, zone, t, source, fallback):
        for signal in ("average",):
            labels = {"grid_zone": zone, "signal": signal}
            now = intensity(zone, t // 900 * 900)
            self.set("jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour", round(now), **labels)
            self.set(
                "jouleprint_grid_intensity_info",
                1,
                **labels,
                basis="lifecycle",
                accounting="consumption",
                quality="measured",
                source=source,
                fallback="substitute" if fallback else "",
            )
            self.set("jouleprint_grid_intensity_timestamp_seconds", t // 900 * 900, **labels)
            self.set(
                "jouleprint_grid_intensity_valid_until_timestamp_seconds", t // 900 * 900 + 1800, **labels
            )
            self.set("jouleprint_grid_intensity_fallback", fallback, **labels)


class Relay(Host):
    """What `jouleprint grid` shows, for more zones than there are machines in."""

    def __init__(self):
        super().__init__(0)
        self.target = 'instance="relay",job="jouleprint-grid"'

    def step(self, t, seconds):
        for zone in GRID:
            self.grid(zone, t, "electricity_maps", 0)
            for hours in (1, 2, 3, 4, 6, 12, 18, 24, 48):
                said = intensity(zone, t + hours * HOUR) * (1 + 0.002 * hours * (wave(t, 9) - 0.5))
                self.set(
                    "jouleprint_grid_carbon_intensity_forecast_grams_per_kilowatt_hour",
                    round(said),
                    grid_zone=zone,
                    signal="average",
                    horizon=f"{hours}h",
                )
            known = {"grid_zone": zone, "source": "electricity_maps"}
            answers = zone != "PL"
            self.set("jouleprint_grid_provider_up", int(answers), **known)
            self.set(
                "jouleprint_grid_provider_info",
                1,
                **known,
                reason="" if answers else "quota",
                detail="every 15 min" if answers else "429: asked again in 20 min",
            )
            self.set(
                "jouleprint_grid_provider_last_success_timestamp_seconds",
                t // 900 * 900 - (0 if answers else 7200),
                **known,
            )
            self.add(
                "jouleprint_grid_provider_requests_total",
                1 if t % 900 < seconds else 0,
                **known,
                provider_zone=zone,
                reason="" if answers else "quota",
            )
        self.set("jouleprint_build_info", 1, version="0.1.0")
        self.set("up", 1)
        self.set("process_cpu_seconds_total", t % 10**7 * 0.0001)
        self.set("process_resident_memory_bytes", 9e6)
        self.set("scrape_duration_seconds", 0.002)
        self.set("scrape_samples_scraped", len(self.page))
