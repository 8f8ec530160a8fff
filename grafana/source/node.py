"""One machine: which device draws what, for which job, and whether the sums are right."""

from source.parts import (
    COLORED,
    GOOD_AT_1,
    JOULES_A_KWH,
    YES_NO,
    Board,
    cell,
    clusters,
    hosts,
    named,
    newest,
    now,
    series,
    stat,
    steps,
    table,
    target,
    to,
)

ONE = 'cluster=~"$cluster",host="$host"'
JOB = "cluster, host, job_kind, job_id"
RATE = "[$__rate_interval]"
INFO = f"jouleprint_job_info{{{ONE}}}"


def rate(metric, more=""):
    """A counter of this machine as a rate; joules become watts."""
    return f"rate({metric}{{{ONE}{more}}}{RATE})"


def board():
    board = Board(
        "node",
        """One machine: the power of each device and of each job, the sums, its sources and its idle floor. Where two
        clusters have machines of one name, pick the cluster too: all clusters together add them up.""",
        [clusters(), hosts(many=False, every=False)],
        start="now-3h",
        refresh="30s",
    )
    energy = f"sum(sum_over_time(node:hw_host_energy_joules:increase1h{{{ONE}}}[$__range]))"
    emissions = f"sum(sum_over_time(node:jouleprint_host_emissions_co2e_grams:increase1h{{{ONE}}}[$__range]))"

    board.add(
        stat(
            "Power now",
            "What the machine draws, measured and estimated together; Measured says how much is which.",
            now(f'sum(hw_host_power_watts{{{ONE},origin!=""}})'),
            "watt",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Energy",
            """Electricity of the chosen time, counted by full hours, measured and estimated together; Measured says how
            much is which.""",
            now(f"{energy} / 3600"),
            "watth",
        ),
        4,
        4,
    )
    board.add(
        stat("Emissions", "CO2 equivalent of that electricity, with PUE.", now(emissions), "massg"), 4, 4
    )
    board.add(
        stat(
            "g/kWh now",
            "Carbon intensity of the electricity in force where the machine stands.",
            now(
                f"""max(jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour{{cluster=~"$cluster",signal="average"}}
                and on (cluster, instance, grid_zone) jouleprint_host_info{{{ONE}}})"""
            ),
            "massg",
        ),
        3,
        4,
    )
    board.add(
        stat(
            "Measured",
            "How much of the energy of the last hour comes from power meters; the rest is estimated.",
            now(f"max(node:jouleprint_measured_share:ratio_rate1h{{{ONE}}})"),
            "percentunit",
            decimals=0,
        ),
        3,
        4,
    )
    board.add(
        stat(
            "Jobs now",
            "Jobs that live on the machine now.",
            now(f"sum(jouleprint_jobs{{{ONE}}})"),
            "short",
            decimals=0,
        ),
        3,
        4,
    )
    held = (
        f"(sum(jouleprint_job_energy_joules_total{{{ONE}}}) or vector(0))"
        f" + sum(jouleprint_residual_energy_joules_total{{{ONE}}}) + sum(jouleprint_retired_energy_joules{{{ONE}}})"
    )
    board.add(
        stat(
            "Unaccounted",
            """What the meters counted, less what all accounts hold: 0, to the millijoule, since every joule is in
            exactly one account.""",
            now(f'round(sum(hw_energy_joules_total{{{ONE},origin!=""}}) - ({held}), 0.001)'),
            "joule",
            thresholds=steps((None, "red"), (-0.5, "green"), (0.5, "red")),
        ),
        3,
        4,
    )

    board.row("Power")
    board.add(
        series(
            "Power by device",
            "What each meter counts: those that are counted once, so that the stack is the machine. Estimates say so.",
            target(rate("hw_energy_joules_total", ',origin!=""'), "{{hw_type}} {{hw_id}} ({{origin}})"),
            "watt",
            stack=True,
        ),
        12,
        9,
    )
    accounts = f"sum by (account) ({rate('jouleprint_residual_energy_joules_total')})"
    jobs = f"sum by (job_kind, job_id) ({rate('jouleprint_job_energy_joules_total')})"
    emitting = f"sum by (job_kind, job_id) ({rate('jouleprint_job_emissions_co2e_grams_total')})"
    top = f"""topk(10, sum by (job_kind, job_id)
        (max_over_time(jouleprint_job_energy_joules_total{{{ONE}}}[$__range] @ end())))"""
    board.add(
        series(
            "Power by job, idle and system",
            """Where the same power goes: the ten jobs that have used most, the others together, and what no job is
            charged with. Idle is what the machine draws for being on, system is the operating system's own work.""",
            [
                target(
                    f"""sum by (job_kind, name) ({named(f"({rate('jouleprint_job_energy_joules_total')} and on (job_kind, job_id) {top})", INFO, JOB)})""",
                    "{{job_kind}} {{name}}",
                ),
                target(f"sum({jobs} unless on (job_kind, job_id) {top})", "other jobs"),
                target(f"{accounts} > 0", "{{account}}"),
            ],
            "watt",
            stack=True,
            legend="table",
        ),
        12,
        9,
    )
    board.add(
        series(
            "Emissions by job, idle and system",
            "The same in grams of CO2 equivalent an hour, with PUE, at the intensity of the time of use.",
            [
                target(
                    f"""sum by (job_kind, name) ({named(f"({rate('jouleprint_job_emissions_co2e_grams_total')} and on (job_kind, job_id) {top})", INFO, JOB)}) * 3600""",
                    "{{job_kind}} {{name}}",
                ),
                target(f"sum({emitting} unless on (job_kind, job_id) {top}) * 3600", "other jobs"),
                target(
                    f"sum by (account) ({rate('jouleprint_residual_emissions_co2e_grams_total')}) * 3600 > 0",
                    "{{account}}",
                ),
            ],
            "massg",
            stack=True,
        ),
        12,
        8,
    )
    board.add(
        series(
            "Inside the devices",
            """Meters inside a counted one (cores of a package), around or beside them: to look at, never to add to the
            others.""",
            target(rate("jouleprint_domain_energy_joules_total"), "{{hw_id}} {{parent}}"),
            "watt",
        ),
        12,
        8,
    )

    board.row("What each has used")
    total = f"sum by ({JOB}) (max_over_time(jouleprint_job_energy_joules_total{{{ONE}}}[$__range]))"
    board.add(
        table(
            "Jobs",
            """What each job has used on this machine since it began, also before the chosen time. A job leads to all
            that is known of it.""",
            [
                ("Kind", "job_kind", {"width": 60}),
                ("Name", "name", None),
                (
                    "Job",
                    "job_id",
                    {"width": 130, "link": to("jobs", "This job", job_kind=cell("Kind"), job_id=cell("Job"))},
                ),
                (
                    "Energy",
                    now(f"sum by (job_kind, job_id, name) ({named(total, newest(INFO, JOB), JOB)}) / 3600"),
                    {"unit": "watth", "width": 90},
                ),
                (
                    "Emissions",
                    now(
                        f"sum by (job_kind, job_id) (max_over_time(jouleprint_job_emissions_co2e_grams_total{{{ONE}}}[$__range]))"
                    ),
                    {"unit": "massg", "width": 90},
                ),
                (
                    "CPU time",
                    now(
                        f"sum by (job_kind, job_id) (max_over_time(jouleprint_job_cpu_seconds_total{{{ONE}}}[$__range]))"
                    ),
                    {"unit": "s", "width": 100},
                ),
            ],
            sort="Energy",
        ),
        12,
        9,
    )
    board.add(
        table(
            "Idle floor",
            """The power taken for idle of each meter, and how it is known: configured, of the model, learnt, or not yet
            learnt, which is 0 until the machine has been seen idle long enough.""",
            [
                ("Hardware", "hw_type", {"width": 110}),
                ("Meter", "hw_id", None),
                ("Known by", "method", {"width": 120}),
                (
                    "Floor",
                    now(f"sum by (hw_type, hw_id, method) (jouleprint_idle_floor_watts{{{ONE}}})"),
                    {"unit": "watt", "width": 110},
                ),
            ],
            sort="Floor",
        ),
        12,
        9,
    )

    board.row("Can it be trusted")
    info = "group_left (reason, detail) jouleprint_source_info"
    board.add(
        table(
            "Sources",
            "Each source and each of its meters: whether it can be read, how, and why not if it cannot.",
            [
                ("Source", "source", {"width": 130}),
                ("Meter", "hw_id", {"width": 160}),
                (
                    "Read",
                    now(
                        f"""max by (source, hw_id, reason, detail)
                        (jouleprint_source_up{{{ONE}}} * on (cluster, host, source, hw_id) {info}{{{ONE}}})"""
                    ),
                    {"width": 70, "cell": COLORED, "mappings": YES_NO, "thresholds": GOOD_AT_1},
                ),
                ("Reason", "reason", {"width": 130}),
                ("How", "detail", None),
            ],
        ),
        14,
        9,
    )
    board.add(
        table(
            "What meters did",
            """Since the exporter counts: passes over the end of a meter's range (nothing is lost), new starts, time without
            a reading, and readings that cannot be true, which are in no other figure.""",
            [
                ("Source", "source", {"width": 90}),
                ("Meter", "hw_id", None),
                (
                    "Wraps",
                    now(f"max by (source, hw_id) (jouleprint_meter_wraps_total{{{ONE}}})"),
                    {"width": 80, "decimals": 0},
                ),
                (
                    "Resets",
                    now(f"max by (source, hw_id) (jouleprint_meter_resets_total{{{ONE}}})"),
                    {"width": 80, "decimals": 0},
                ),
                (
                    "Gaps",
                    now(f"max by (source, hw_id) (jouleprint_meter_gap_seconds_total{{{ONE}}})"),
                    {"unit": "s", "width": 80},
                ),
                (
                    "Refused",
                    now(f"sum by (source, hw_id) (jouleprint_quarantined_energy_joules_total{{{ONE}}})"),
                    {"unit": "joule", "width": 90, "absent": "0"},
                ),
            ],
            sort="Gaps",
        ),
        10,
        9,
    )
    facts = [
        "host_cpu_model_name",
        "host_arch",
        "os_version",
        "grid_zone",
        "grid_zone_source",
        "cloud_provider",
        "cloud_region",
    ]
    board.add(
        table(
            "The machine",
            "What and where the machine is, as the exporter sees it, and the power usage effectiveness in its emissions.",
            [
                ("Processor", "host_cpu_model_name", None),
                ("Architecture", "host_arch", {"width": 110}),
                ("System", "os_version", {"width": 120}),
                ("Grid zone", "grid_zone", {"width": 100}),
                ("Zone from", "grid_zone_source", {"width": 110}),
                ("Cloud", "cloud_provider", {"width": 90}),
                ("Region", "cloud_region", {"width": 110}),
                (
                    "PUE",
                    now(f"""max by ({", ".join(facts)}) (jouleprint_host_info{{{ONE}}}
                        * on (cluster, host) group_left () jouleprint_pue_ratio{{{ONE}}})"""),
                    {"width": 80, "decimals": 2, "unit": "none"},
                ),
            ],
        ),
        14,
        4,
    )
    board.add(
        stat(
            "Estimates may be off by",
            "The largest uncertainty of an estimate of this machine, up or down; nothing where all is measured.",
            now(f"max(jouleprint_estimate_uncertainty_ratio{{{ONE}}})"),
            "percentunit",
            decimals=0,
            absent="all measured",
        ),
        5,
        4,
    )
    board.add(
        stat(
            "Effective grams per kWh",
            f"""Emissions for each metered kilowatt hour of the chosen time, PUE included ({int(JOULES_A_KWH):,} J are a
            kilowatt hour).""",
            now(f"{emissions} / ({energy} / {JOULES_A_KWH} > 0)"),
            "massg",
        ),
        5,
        4,
    )
    return board
