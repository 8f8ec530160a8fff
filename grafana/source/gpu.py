"""Accelerators: what each draws and for whom, the parts of a divided one, and those given and not used."""

from source.parts import (
    COLORED,
    GAUGE,
    GOOD_AT_1,
    HOST,
    INKED,
    YES_NO,
    Board,
    bars,
    cell,
    choice,
    clusters,
    fixed,
    hosts,
    named,
    now,
    series,
    stat,
    steps,
    table,
    target,
    to,
)

GPU = f'{HOST},gpu=~"$gpu",gpu!=""'
DEVICE = "cluster, host, gpu"
JOB = "cluster, host, job_kind, job_id, gpu, gpu_instance"
RATE = "[$__rate_interval]"
GIVEN = f"jouleprint_job_gpu_allocated_ratio{{{GPU}}}"

# The counters of accelerators begin at 0 on a host's first page, so that their increase is their use.
POWER = f'rate(hw_energy_joules_total{{{GPU},hw_type="gpu",origin!=""}}{RATE})'
JOBS = f'rate(jouleprint_job_energy_joules_total{{{GPU},hw_type="gpu"}}{RATE})'
IDLE = f'rate(jouleprint_residual_energy_joules_total{{{GPU},hw_type="gpu",account="idle"}}{RATE})'


def idle_given(by):
    """The parts of accelerators that were given to jobs which draw next to nothing there.

    Of devices that are read: a job that has used nothing at all there need not have a counter, so that its own does
    not tell whether anything is known.
    """
    return f"sum by ({by}) ({GIVEN} and on ({DEVICE}) {POWER}) unless (sum by ({by}) ({JOBS}) >= $idle_watts)"


def placed(expr):
    """With the model and the place of the device."""
    return f"{expr} * on ({DEVICE}) group_left (hw_model, gpu_index) max by ({DEVICE}, hw_model, gpu_index) (jouleprint_gpu_info{{{GPU}}})"


def board():
    board = Board(
        "gpu",
        "Accelerators by device, by part (MIG) and by job, and those that are given to a job which does not use them.",
        [
            clusters(),
            hosts(),
            choice("gpu", "Accelerator", f"label_values(jouleprint_gpu_info{{{HOST}}}, gpu)"),
            fixed(
                "idle_watts",
                "Idle below",
                [("10 W", "10"), ("5 W", "5"), ("25 W", "25"), ("50 W", "50")],
                "A job that draws less than this beyond idle, of an accelerator it was given, does not use it.",
            ),
        ],
        start="now-6h",
        refresh="1m",
    )
    board.add(
        stat(
            "Accelerators",
            "Devices that are seen now.",
            now(f"count(count by ({DEVICE}) (jouleprint_gpu_info{{{GPU}}}))"),
            "short",
            decimals=0,
        ),
        4,
        4,
    )
    board.add(
        stat("Power now", "What all chosen accelerators draw.", now(f"sum({POWER})"), "watt", recent=True),
        4,
        4,
    )
    board.add(
        stat(
            "Given to jobs",
            """How much of the accelerators is given to jobs by those who run them (Kubernetes, Slurm). Nothing where nobody
            gives them.""",
            target(f"sum({GIVEN}) / (count(count by ({DEVICE}) (jouleprint_gpu_info{{{GPU}}})) > 0)"),
            "percentunit",
            graph=True,
            decimals=0,
            recent=True,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Given and not used now",
            """Whole accelerators' worth that is given to jobs which draw next to nothing there now, beyond idle. It is
            capacity that others wait for, and idle power that is burnt for nothing.""",
            now(f"sum({idle_given(JOB)}) or vector(0)"),
            "short",
            decimals=2,
            thresholds=steps((None, "green"), (0.5, "orange")),
            recent=True,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Idle power",
            "What the accelerators draw for being on, with or without a job that holds them.",
            target(f"sum({IDLE})"),
            "watt",
            graph=True,
            recent=True,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Emissions an hour",
            "CO2 equivalent of what jobs draw of accelerators, grams an hour, with PUE.",
            target(
                f'sum(rate(jouleprint_job_emissions_co2e_grams_total{{{GPU},hw_type="gpu"}}{RATE})) * 3600'
            ),
            "massg",
            graph=True,
            recent=True,
        ),
        4,
        4,
    )

    described = (f"jouleprint_job_info{{{HOST}}}", "cluster, host, job_kind, job_id")
    owner = "cluster, job_kind, job_id"
    top = f"""topk(10, sum by ({owner})
        (max_over_time(jouleprint_job_energy_joules_total{{{GPU},hw_type="gpu"}}[$__range] @ end())))"""
    jobs, given = named(f"({JOBS} and on ({owner}) {top})", *described), named(GIVEN, *described)
    board.row("By device")
    board.add(
        series(
            "Power by accelerator",
            "What each device draws, from its own energy counter where it has one.",
            target(placed(f"sum by ({DEVICE}) ({POWER})"), "{{host}} {{gpu_index}} {{hw_model}}"),
            "watt",
            legend="table",
        ),
        12,
        9,
    )
    board.add(
        series(
            "Power by job",
            """What jobs draw of the chosen accelerators, beyond idle unless the exporter charges jobs with that: the ten
            that have used most of them, the others together, and idle.""",
            [
                target(f"sum by (job_kind, name) ({jobs})", "{{job_kind}} {{name}}"),
                target(f"sum({JOBS} unless on ({owner}) {top})", "others"),
                target(f"sum({IDLE})", "idle"),
            ],
            "watt",
            stack=True,
            legend="table",
        ),
        12,
        9,
    )
    facts = f"{DEVICE}, hw_vendor, hw_model, hw_driver_version, pci_address, gpu_index, method"
    board.add(
        table(
            "Devices",
            """Each device: its power, how much of it is given to jobs, and how its energy was divided last: by nobody's
            use, by one holder's, by activity (utilization), by slices, or equally where nothing better is known.""",
            [
                ("Cluster", "cluster", {"width": 100}),
                ("Host", "host", {"width": 120, "link": to("node", "This machine", host=cell("Host"))}),
                ("No.", "gpu_index", {"width": 60}),
                ("Model", "hw_model", None),
                ("Accelerator", "gpu", None),
                ("Divided by", "method", {"width": 120}),
                ("Driver", "hw_driver_version", {"width": 110}),
                (
                    "Seen",
                    now(f"max by ({facts}) (jouleprint_gpu_info{{{GPU}}})"),
                    {"width": 60, "decimals": 0},
                ),
                ("Power", now(f"sum by ({DEVICE}) ({POWER})"), {"unit": "watt", "width": 100}),
                (
                    "Given",
                    now(f"sum by ({DEVICE}) ({GIVEN})"),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 0, "width": 150},
                ),
                (
                    "Floor",
                    now(f'sum by ({DEVICE}) (jouleprint_idle_floor_watts{{{GPU},hw_type="gpu"}})'),
                    {"unit": "watt", "width": 90},
                ),
            ],
            sort="Power",
            labels=("hw_vendor", "pci_address"),
            recent=True,
        ),
        24,
        9,
    )

    board.row("Given and not used")
    job_power = f"sum by ({JOB}) ({JOBS})"
    board.add(
        table(
            "What jobs make of what they were given",
            """Each job beside what it was given: its power there beyond idle. Next to no power on a whole accelerator is
            one that somebody else could have.""",
            [
                ("Host", "host", {"width": 100}),
                ("Kind", "job_kind", {"width": 60}),
                ("Name", "name", None),
                (
                    "Job",
                    "job_id",
                    {"width": 110, "link": to("jobs", "This job", job_kind=cell("Kind"), job_id=cell("Job"))},
                ),
                ("Accelerator", "gpu", {"width": 130}),
                ("Instance", "gpu_instance", {"width": 100}),
                (
                    "Given",
                    now(f"sum by ({JOB}, name) ({given})"),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 0, "width": 120},
                ),
                (
                    "Power",
                    now(f"{job_power} and on ({JOB}) {GIVEN}"),
                    {
                        "unit": "watt",
                        "cell": INKED,
                        "thresholds": steps((None, "red"), (10, "orange"), (50, "text")),
                        "width": 80,
                    },
                ),
            ],
            sort="Given",
            labels=("cluster",),
            recent=True,
        ),
        16,
        9,
    )
    board.add(
        series(
            "Given and not used",
            "Whole accelerators' worth that was given to jobs which drew next to nothing there, by host.",
            target(f"sum by (host) ({idle_given(JOB)})", "{{host}}"),
            "short",
            stack=True,
            decimals=2,
        ),
        8,
        9,
    )

    board.row("Parts (MIG)")
    instance = "host, gpu, gpu_instance"
    parts = f'jouleprint_job_energy_joules_total{{{GPU},gpu_instance!="",hw_type="gpu"}}'
    board.add(
        series(
            "Power by instance",
            "What jobs draw of each part of a divided accelerator. A device without parts is not here.",
            target(
                f"""sum by ({instance}) (rate({parts}{RATE})) * on ({instance}) group_left (profile)
                max by ({instance}, profile) (jouleprint_gpu_instance_info{{{GPU}}})""",
                "{{host}} {{profile}} {{gpu_instance}}",
            ),
            "watt",
            stack=True,
        ),
        12,
        8,
    )
    board.add(
        bars(
            "Energy by instance",
            "What jobs have used of each part, from the beginning of each job, as far as it was seen in the chosen time.",
            now(
                f"topk(15, sum by ({instance}) (max_over_time({parts}[$__range])) / 3600)",
                "{{host}} {{gpu_instance}}",
            ),
            "watth",
            absent="no divided accelerator",
        ),
        12,
        8,
    )
    board.row("Can it be read")
    board.add(
        table(
            "Accelerators' sources",
            "How each accelerator is read, and why it is not if it is not.",
            [
                ("Host", "host", {"width": 120}),
                ("Source", "source", {"width": 130}),
                ("Accelerator", "hw_id", None),
                (
                    "Read",
                    now(
                        f"""max by (host, source, hw_id, reason, detail) (jouleprint_source_up{{{HOST},source=~"nvml|amdgpu|intel_gpu|gpu_.*"}}
                        * on (cluster, host, source, hw_id) group_left (reason, detail) jouleprint_source_info{{{HOST}}})"""
                    ),
                    {"width": 70, "cell": COLORED, "mappings": YES_NO, "thresholds": GOOD_AT_1},
                ),
                ("Reason", "reason", {"width": 130}),
                ("How", "detail", None),
            ],
        ),
        24,
        7,
    )
    return board
