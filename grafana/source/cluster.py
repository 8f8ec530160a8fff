"""Clusters and their machines: for those who run them."""

from source.parts import (
    CLUSTER,
    GAUGE,
    HOST,
    JOULES_A_KWH,
    Board,
    bars,
    cell,
    clusters,
    group_kinds,
    hosts,
    label,
    now,
    series,
    stat,
    steps,
    table,
    target,
    to,
)

GROUP = f'{CLUSTER},group_kind="$group_kind"'
ENERGY = f"node:hw_host_energy_joules:increase1h{{{HOST}}}"
EMISSIONS = f"node:jouleprint_host_emissions_co2e_grams:increase1h{{{HOST}}}"
WATTS = f"node:hw_host_energy_joules:rate5m{{{HOST}}}"
GROUP_WATTS = f"group:jouleprint_group_energy_joules:rate5m{{{GROUP}}}"
GROUP_HOURS = f"group:jouleprint_group_energy_joules:increase1h{{{GROUP}}}"
# What belongs to no group has no list of jobs that a link could lead to.
IN_GROUP_HOURS = f'group:jouleprint_group_energy_joules:increase1h{{{GROUP},group!=""}}'


def named(expr):
    """What belongs to no group has an empty name, which nobody sees."""
    return f'label_replace({expr}, "group", "(no group)", "group", "")'


def board():
    board = Board(
        "cluster",
        "Power, energy and emissions of clusters, by machine, by kind of hardware and by group.",
        [clusters(), hosts(), group_kinds()],
        start="now-24h",
        refresh="1m",
    )
    energy, emissions = (
        f"sum(sum_over_time({ENERGY}[$__range]))",
        f"sum(sum_over_time({EMISSIONS}[$__range]))",
    )

    board.add(
        stat(
            "Power now",
            """What the chosen machines draw, mean of the last five minutes, measured and estimated together; Measured in
            the table of machines says how much is which.""",
            now(f"sum({WATTS})"),
            "watt",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Energy",
            """Electricity in the chosen time, counted by full hours, measured and estimated together; Measured in the
            table of machines says how much is which.""",
            now(f"{energy} / 3600"),
            "watth",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Emissions",
            "CO2 equivalent of that electricity with PUE, hour by hour at the intensity of the grid.",
            now(emissions),
            "massg",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Grams per kWh",
            "Emissions for each kilowatt hour used in the chosen time, PUE included.",
            now(f"{emissions} / ({energy} / {JOULES_A_KWH} > 0)"),
            "massg",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Machines now",
            "Machines whose energy was counted in the last five minutes.",
            now(f"count({WATTS})"),
            "short",
            decimals=0,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Sources down",
            """Meters and other sources of the exporters that cannot be read now. The exporter health dashboard names
            them.""",
            now(f"count(jouleprint_source_up{{{HOST}}} == 0) or vector(0)"),
            "short",
            thresholds=steps((None, "green"), (1, "orange")),
            decimals=0,
        ),
        4,
        4,
    )

    board.row("Power")
    board.add(
        series(
            "Power by cluster",
            "What each cluster draws, mean of five minutes.",
            target(f"sum by (cluster) ({WATTS})", "{{cluster}}"),
            "watt",
            stack=True,
        ),
        12,
        8,
    )
    board.add(
        series(
            "Power by hardware",
            """What processors, memory, accelerators and the rest of the machines draw, as last read, measured and
            estimated apart. Only meters that are counted once are added.""",
            target(
                f'sum by (hw_type, origin) (hw_power_watts{{{HOST},origin!=""}})', "{{hw_type}}, {{origin}}"
            ),
            "watt",
            stack=True,
        ),
        12,
        8,
    )
    board.add(
        series(
            "Machines that draw most",
            "The ten machines that used most energy in the chosen time.",
            target(
                f"{WATTS} and on (cluster, host) topk(10, sum_over_time({ENERGY}[$__range] @ end()))",
                "{{host}}",
            ),
            "watt",
        ),
        12,
        8,
    )
    top = f"topk(8, sum by (group) (sum_over_time({GROUP_HOURS}[$__range] @ end())))"
    watts = f"sum by (group) ({GROUP_WATTS})"
    board.add(
        series(
            "Power by group",
            """What the jobs of each group draw: the eight largest of the chosen time and all others. What belongs to no
            group is idle and system energy, and jobs without one. Of all machines of the clusters.""",
            [
                target(named(f"{watts} and on (group) {top}"), "{{group}}"),
                target(f"sum({watts} unless on (group) {top})", "all others"),
            ],
            "watt",
            stack=True,
        ),
        12,
        8,
    )

    board.row("Where it goes")
    board.add(
        bars(
            "Energy by group",
            """Energy of the jobs of each group in the chosen time, the 15 largest, of all machines of the clusters. Idle,
            system and jobs without a group are not in it. A bar leads to the group's jobs.""",
            now(f"topk(15, sum by (group) (sum_over_time({IN_GROUP_HOURS}[$__range])) / 3600)", "{{group}}"),
            "watth",
            links=[to("jobs", "Jobs of this group", group_kind="${group_kind}", group=label("group"))],
        ),
        8,
        10,
    )
    board.add(
        table(
            "Machines",
            """Each machine: its power now, its energy and emissions in the chosen time, how much of the last hour was
            idle and how much was measured. A name leads to the machine.""",
            [
                ("Cluster", "cluster", {"width": 120}),
                ("Host", "host", {"link": to("node", "This machine", host=cell("Host"))}),
                ("Power", now(f"max by (cluster, host) ({WATTS})"), {"unit": "watt", "width": 90}),
                (
                    "Energy",
                    now(f"sum by (cluster, host) (sum_over_time({ENERGY}[$__range])) / 3600"),
                    {"unit": "watth", "width": 100},
                ),
                (
                    "Emissions",
                    now(f"sum by (cluster, host) (sum_over_time({EMISSIONS}[$__range]))"),
                    {"unit": "massg", "width": 100},
                ),
                (
                    "Idle",
                    now(f"max by (cluster, host) (node:jouleprint_idle_share:ratio_rate1h{{{HOST}}})"),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 0, "width": 150},
                ),
                (
                    "Measured",
                    now(f"max by (cluster, host) (node:jouleprint_measured_share:ratio_rate1h{{{HOST}}})"),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 0, "width": 150},
                ),
                (
                    "g/kWh",
                    now(
                        f"max by (cluster, host) (node:jouleprint_effective_intensity_grams_per_kilowatt_hour:ratio_rate1h{{{HOST}}})"
                    ),
                    {"unit": "none", "decimals": 0, "width": 80},
                ),
            ],
            sort="Power",
        ),
        16,
        10,
    )

    board.row("Emissions")
    board.add(
        series(
            "Emissions by cluster",
            """Grams of CO2 equivalent an hour, with PUE, at the intensity of the time of use. Of all machines of the
            clusters.""",
            target(
                f"sum by (cluster) (cluster:jouleprint_host_emissions_co2e_grams:rate5m{{{CLUSTER}}}) * 3600",
                "{{cluster}}",
            ),
            "massg",
            stack=True,
        ),
        8,
        8,
    )
    board.add(
        series(
            "Grams per kWh by cluster",
            """Emissions for each kilowatt hour over the hour before, PUE included. Of all machines of the clusters.""",
            target(
                f"cluster:jouleprint_effective_intensity_grams_per_kilowatt_hour:ratio_rate1h{{{CLUSTER}}}",
                "{{cluster}}",
            ),
            "massg",
        ),
        8,
        8,
    )
    board.add(
        series(
            "Idle share by cluster",
            """How much of the energy over the hour before machines used for nothing but being on. Of all machines of the
            clusters.""",
            target(f"cluster:jouleprint_idle_share:ratio_rate1h{{{CLUSTER}}}", "{{cluster}}"),
            "percentunit",
            top=1,
        ),
        8,
        8,
    )
    return board
