"""The job explorer: pick a group, then a job, and see what it has used, where and when."""

from source.parts import (
    GAUGE,
    HOST,
    Board,
    bars,
    choice,
    clusters,
    fixed,
    hosts,
    named,
    newest,
    now,
    placed,
    series,
    stat,
    table,
    target,
)

CHOSEN = f'{HOST},job_kind=~"$job_kind",job_id=~"$job_id"'
JOB = "cluster, place, job_kind, job_id"
PART = "cluster, host, job_kind, job_id"
INFO = f'jouleprint_job_info{{{CHOSEN},${{group_kind:text}}=~"$group"}}'
RATE = "[$__rate_interval]"
NAMES = "k8s_namespace_name, slurm_account, user_name, project"

NEWEST = newest(INFO, JOB)


def total(metric, by=JOB):
    """What jobs had used when they were last seen: a counter's largest value in the range, summed over hosts."""
    return f"sum by ({by}) ({placed(f'max_over_time({metric}{{{CHOSEN}}}[$__range])')} and on ({JOB}) {NEWEST})"


def rate(metric):
    """A counter of the chosen jobs as a rate."""
    return f"rate({metric}{{{CHOSEN}}}{RATE})"


def board():
    by_group = "jouleprint_job_info{{{}}}".format(HOST)
    variables = [
        clusters(),
        hosts(),
        fixed(
            "group_kind",
            "Group is",
            [
                ("k8s_namespace_name", "namespace"),
                ("slurm_account", "slurm_account"),
                ("user_name", "user"),
                ("project", "project"),
            ],
            "The label of jouleprint_job_info by which jobs are grouped.",
        ),
        choice("group", "Group", f"label_values({by_group}, ${{group_kind:text}})"),
        choice(
            "job_kind",
            "Kind",
            f'label_values(jouleprint_job_info{{{HOST},${{group_kind:text}}=~"$group"}}, job_kind)',
        ),
        choice(
            "job_id",
            "Job",
            f'label_values(jouleprint_job_info{{{HOST},job_kind=~"$job_kind",${{group_kind:text}}=~"$group"}}, job_id)',
        ),
    ]
    board = Board(
        "jobs",
        """What jobs use and have used, and will use if they say how far they are. Pick what groups are, a group, then
        a job. Totals are the largest value of a job's own counters, which is exact; they count from the job's
        beginning, also before the chosen time. A service or a container of one name is a job of its own on each
        host, a pod or a job of Slurm is one over all of its hosts.""",
        variables,
        start="now-6h",
        refresh="1m",
    )
    energy = total("jouleprint_job_energy_joules_total")
    emissions = total("jouleprint_job_emissions_co2e_grams_total")
    cpu = total("jouleprint_job_cpu_seconds_total")

    board.add(
        stat(
            "Energy",
            "What the chosen jobs had used, from the beginning of each to when it was last seen.",
            now(f"sum({energy}) / 3600"),
            "watth",
        ),
        5,
        4,
    )
    board.add(
        stat(
            "Emissions",
            "CO2 equivalent of that energy, with PUE, at the intensity of the time of use.",
            now(f"sum({emissions})"),
            "massg",
        ),
        5,
        4,
    )
    board.add(
        stat(
            "Power now",
            "What the chosen jobs draw now, without idle and system energy unless the exporter charges jobs with it.",
            now(f"sum({rate('jouleprint_job_energy_joules_total')} and on ({PART}) {INFO})"),
            "watt",
            recent=True,
        ),
        5,
        4,
    )
    board.add(
        stat(
            "Jobs seen",
            "Chosen jobs that were seen in the chosen time.",
            now(f"count({NEWEST})"),
            "short",
            decimals=0,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Joules per CPU second",
            """Energy of the chosen jobs for each second of processor time: what work costs here. Accelerators are in the
            energy and not in the seconds.""",
            now(f"sum({energy}) / (sum({cpu}) > 0)"),
            "joule",
        ),
        5,
        4,
    )

    board.row("Over time")
    used = f"""(max_over_time(jouleprint_job_energy_joules_total{{{CHOSEN}}}[$__range] @ end())
        and on ({PART}) max_over_time({INFO}[$__range] @ end()))"""
    top = f"topk(10, sum by ({JOB}) ({placed(used)}))"
    power = rate("jouleprint_job_energy_joules_total")
    described = named(f"({placed(power)} and on ({JOB}) {top})", INFO, PART)
    board.add(
        series(
            "Power by job",
            "The ten chosen jobs that have used most, and all others of the choice together.",
            [
                target(f"sum by (job_kind, name, place) ({described})", "{{job_kind}} {{name}} {{place}}"),
                target(f"sum({placed(f'({power} and on ({PART}) {INFO})')} unless on ({JOB}) {top})", "others"),
            ],
            "watt",
            stack=True,
            legend="table",
        ),
        14,
        10,
    )
    board.add(
        series(
            "Power by hardware",
            "What the chosen jobs draw of processors, memory, accelerators and the rest, measured and estimated apart.",
            target(f"sum by (hw_type, origin) ({power} and on ({PART}) {INFO})", "{{hw_type}}, {{origin}}"),
            "watt",
            stack=True,
        ),
        10,
        10,
    )

    board.row("Totals")
    described = f"{energy} * on ({JOB}) group_left ({NAMES}) {NEWEST}"
    described = f"sum by ({JOB}, name, {NAMES}) ({named(described, NEWEST, JOB)}) / 3600"
    board.add(
        table(
            "Jobs",
            """What each chosen job had used when it was last seen, over all its hosts, with what is known of it. Grams
            per kWh is what its electricity emitted, PUE included.""",
            [
                ("Cluster", "cluster", {"width": 90}),
                ("Host", "place", {"width": 90}),
                ("Kind", "job_kind", {"width": 60}),
                ("Name", "name", None),
                ("Namespace", "k8s_namespace_name", {"width": 110}),
                ("Account", "slurm_account", {"width": 100}),
                ("User", "user_name", {"width": 90}),
                ("Project", "project", {"width": 120}),
                ("Job", "job_id", {"width": 180}),
                ("Energy", now(described), {"unit": "watth", "width": 100}),
                ("Emissions", now(emissions), {"unit": "massg", "width": 100}),
                ("CPU time", now(cpu), {"unit": "s", "width": 100}),
                (
                    "g/kWh",
                    now(f"{emissions} / ({energy} / 3600000 > 0)"),
                    {"unit": "none", "decimals": 0, "width": 80},
                ),
            ],
            sort="Energy",
        ),
        24,
        11,
    )
    board.row("Ahead")
    told = f"jouleprint_job_progress_ratio{{{CHOSEN}}}"
    told = f"sum by ({PART}, name) ({named(f'({told} and on ({PART}) {INFO})', INFO, PART)})"

    def ahead(metric, quantile, unit, divided=""):
        series = f'jouleprint_job_predicted_{metric}{{{CHOSEN},quantile="{quantile}"}}'
        expr = f"sum by ({PART}) ({series} and on ({PART}) {INFO}){divided}"
        return now(expr), {"unit": unit, "width": 120}

    board.add(
        table(
            "Progress and prediction",
            """Jobs that say how far they are (`jouleprint job progress`, `run --progress-pattern`), and what they will
            have used in all at their end: the median, and between which bounds four of five ends are (from … to). A job
            of several hosts has a line for each. Nothing is predicted before five points of progress.""",
            [
                ("Cluster", "cluster", {"width": 90}),
                ("Host", "host", {"width": 110}),
                ("Kind", "job_kind", {"width": 60}),
                ("Name", "name", None),
                ("Job", "job_id", {"width": 180}),
                (
                    "Done",
                    now(told),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 0, "width": 150},
                ),
                ("Energy in all", *ahead("energy_joules", "0.5", "watth", " / 3600")),
                ("from", *ahead("energy_joules", "0.1", "watth", " / 3600")),
                ("to", *ahead("energy_joules", "0.9", "watth", " / 3600")),
                ("Emissions in all", *ahead("emissions_co2e_grams", "0.5", "massg")),
                ("Time in all", *ahead("duration_seconds", "0.5", "s")),
            ],
            sort="Energy in all",
        ),
        24,
        8,
    )

    board.row("Where")
    hosts_total = total("jouleprint_job_energy_joules_total", "host")
    hardware_total = total("jouleprint_job_energy_joules_total", "hw_type, origin")
    zone_total = total("jouleprint_job_emissions_co2e_grams_total", "grid_zone")
    board.add(
        bars(
            "By hardware",
            "Energy of the chosen jobs by the hardware that used it, measured and estimated apart.",
            now(f"sort_desc({hardware_total} / 3600)", "{{hw_type}}, {{origin}}"),
            "watth",
        ),
        8,
        7,
    )
    board.add(
        bars(
            "By host",
            "Energy of the chosen jobs by machine, the ten largest.",
            now(f"topk(10, {hosts_total} / 3600)", "{{host}}"),
            "watth",
        ),
        8,
        7,
    )
    board.add(
        bars(
            "By grid zone",
            "Emissions of the chosen jobs by the grid they ran on.",
            now(f"sort_desc({zone_total})", "{{grid_zone}}"),
            "massg",
        ),
        8,
        7,
    )
    return board
