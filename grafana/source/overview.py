"""What an organisation uses and emits: for those who answer for it. Everything over hourly rules."""

import csv
import pathlib

from source.parts import (
    BAD_ABOVE_0,
    CLUSTER,
    COLORED,
    GAUGE,
    JOULES_A_KWH,
    Board,
    bars,
    cell,
    clusters,
    group_kinds,
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
# What belongs to no group has no list of jobs that a link could lead to.
IN_GROUP = f'{GROUP},group!=""'
EMISSIONS = f"cluster:jouleprint_host_emissions_co2e_grams:increase1h{{{CLUSTER}}}"
ENERGY = f"cluster:hw_host_energy_joules:increase1h{{{CLUSTER}}}"
WATTS = f"cluster:hw_host_energy_joules:rate5m{{{CLUSTER}}}"
SHARED = f"group:jouleprint_group_emissions_with_overhead_co2e_grams:increase1h{{{GROUP}}}"
DAY = "[$__interval] offset -$__interval"

# Rows of data/equivalents.csv that are shown, in this order.
EQUIVALENTS = [
    "car_km_eu",
    "flight_paris_london",
    "flight_new_york_san_francisco",
    "household_day_eu",
    "household_day_us",
    "smartphone_charge",
]


def over(rule, by=""):
    """The sum of an hourly rule over the range of the dashboard."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping}(sum_over_time({rule}[$__range]))"


def before(rule, by=""):
    """The same over the range before."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping}(sum_over_time({rule}[$__range] offset $__range))"


def is_recorded_before(rule):
    """Whether the range before was recorded about as long as the range itself, and by as many."""
    count = f"sum(count_over_time({rule}[$__range]))"
    earlier = f"sum(count_over_time({rule}[$__range] offset $__range))"
    return f"({earlier} >= 0.9 * {count})"


def named(expr):
    """What belongs to no group has an empty name, which nobody sees."""
    return f'label_replace({expr}, "group", "(no group)", "group", "")'


def share(part):
    """A part of the last hour's energy of all chosen clusters: shares are never averaged, so it is one of sums."""
    return f"sum({part}{{{CLUSTER}}}) / (sum(node:hw_host_energy_joules:rate1h{{{CLUSTER}}}) > 0)"


def equivalents():
    """One query for each; factors are those of the table that reports use."""
    path = pathlib.Path(__file__).resolve().parents[2] / "data" / "equivalents.csv"
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    rows = {row["id"]: row for row in csv.DictReader(lines)}
    made = []
    for name in EQUIVALENTS:
        row = rows[name]
        amount, unit = (
            (over(EMISSIONS), "1000") if row["kind"] == "emissions" else (over(ENERGY), JOULES_A_KWH)
        )
        made.append(now(f"{amount} / {unit} / {row['per_unit']}", row["many"]))
    return made


def board():
    board = Board(
        "overview",
        """Emissions and energy of the whole organisation, by day, team, cluster and zone, with budgets. Reads
        hourly recording rules (deploy/prometheus/recording.yaml), so that a year is as quick as a day.""",
        [clusters(), group_kinds()],
        start="now-30d",
        refresh="15m",
    )
    # A day's bar is that of the day's end, and so is the end of the range: without the offset today is missed.
    # Of a range of a few hours the day itself counts, and in its first hour the day before.
    top_groups = f"""topk(8, sum by (group) (sum_over_time({SHARED}[$__range] @ end() offset -$__interval)
        or sum_over_time({SHARED}[$__interval] @ end() offset -$__interval)
        or sum_over_time({SHARED}[$__interval] @ end())))"""
    by_day = f"sum by (group) (sum_over_time({SHARED}{DAY}))"

    board.add(
        stat(
            "Emissions",
            """CO2 equivalent of the electricity of all metered machines in the chosen time, with the data centre's own
            use (PUE), each hour at the intensity of its grid. 1 Mg is a tonne.""",
            now(over(EMISSIONS)),
            "massg",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Against the time before",
            """Emissions of the chosen time against the equally long time before it: +10 % is more than before. Empty
            until both are recorded.""",
            now(
                f"""({over(EMISSIONS)} - {before(EMISSIONS)}) / ({before(EMISSIONS)} > 0)
                and on () {is_recorded_before(EMISSIONS)}"""
            ),
            "percentunit",
            thresholds=steps((None, "green"), (0, "text"), (0.1, "orange")),
            decimals=1,
            absent="not yet known",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Energy",
            """Electricity of all machines with an exporter in the chosen time, without cooling and other use of the data
            centre, measured and estimated together; Measured says how much is which.""",
            now(f"{over(ENERGY)} / 3600"),
            "watth",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Power now",
            """What all machines with an exporter draw, mean of the last five minutes, measured and estimated together;
            Measured says how much is which.""",
            now(f"sum({WATTS})"),
            "watt",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Grams per kWh",
            """Emissions for each kilowatt hour that was used, in the chosen time, PUE included: it falls when work
            moves to cleaner hours and places, whatever the amount of work.""",
            now(f"{over(EMISSIONS)} / ({over(ENERGY)} / {JOULES_A_KWH} > 0)"),
            "massg",
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Measured",
            """How much of the energy of the last hour comes from power meters. The rest is estimated from processor
            models and load. The other figures have measured and estimated together.""",
            now(share("node:hw_host_energy_joules:measured_rate1h")),
            "percentunit",
            thresholds=steps((None, "orange"), (0.5, "text"), (0.9, "green")),
            decimals=0,
        ),
        2,
        4,
    )
    board.add(
        stat(
            "Idle",
            """How much of the energy of the last hour machines used for nothing but being on. It belongs to no job; the
            panels by team share it out in proportion.""",
            now(share("node:jouleprint_residual_energy_joules:idle_rate1h")),
            "percentunit",
            decimals=0,
        ),
        2,
        4,
    )

    board.row("Day by day")
    board.add(
        series(
            "Emissions by cluster, day by day",
            "Each day's emissions by cluster. The last bar is today so far. A day begins at midnight of your time zone.",
            target(f"sum by (cluster) (sum_over_time({EMISSIONS}{DAY}))", "{{cluster}}"),
            "massg",
            stack=True,
            bars=True,
            interval="1d",
        ),
        12,
        8,
    )
    board.add(
        series(
            "Energy by cluster",
            "Each day's electricity by cluster. Where it falls and the emissions do not, the grid has become dirtier.",
            target(f"sum by (cluster) (sum_over_time({ENERGY}{DAY})) / 3600", "{{cluster}}"),
            "watth",
            stack=True,
            bars=True,
            interval="1d",
        ),
        12,
        8,
    )

    board.row("By team")
    board.add(
        series(
            "Emissions by team, day by day",
            """The eight groups that emitted most in the chosen time, and all others together. Idle and system energy is
            shared out among the groups in proportion to their own.""",
            [
                target(named(f"{by_day} and on (group) {top_groups}"), "{{group}}"),
                target(f"sum({by_day} unless on (group) {top_groups})", "all others"),
            ],
            "massg",
            stack=True,
            bars=True,
            interval="1d",
        ),
        12,
        9,
    )
    group_energy = f"group:jouleprint_group_energy_joules:increase1h{{{IN_GROUP}}}"
    group_emissions = f"group:jouleprint_group_emissions_co2e_grams:increase1h{{{IN_GROUP}}}"
    board.add(
        table(
            "Teams",
            """What the jobs of each group used and emitted in the chosen time, and what they emitted with their part of
            what belongs to no group (overhead): idle, system and jobs without a group, which have no line of their own.
            The share is of that. A group's name leads to its jobs.""",
            [
                (
                    "Group",
                    "group",
                    {
                        "link": to(
                            "jobs", "Jobs of this group", group_kind="${group_kind}", group=cell("Group")
                        )
                    },
                ),
                ("Energy", now(f"{over(group_energy, 'group')} / 3600"), {"unit": "watth"}),
                ("Emissions", now(over(group_emissions, "group")), {"unit": "massg"}),
                ("With overhead", now(over(SHARED, "group")), {"unit": "massg"}),
                (
                    "Share",
                    now(f"{over(SHARED, 'group')} / on () group_left () ({over(SHARED)} > 0)"),
                    {"unit": "percentunit", "cell": GAUGE, "top": 1, "decimals": 1},
                ),
            ],
            sort="With overhead",
        ),
        12,
        9,
    )

    board.row("By place")
    board.add(
        bars(
            "Emissions by cluster",
            "Emissions of the chosen time by cluster. A bar leads to the cluster.",
            now(f"sort_desc({over(EMISSIONS, 'cluster')})", "{{cluster}}"),
            "massg",
            links=[to("cluster", "This cluster", cluster=label("cluster"))],
        ),
        8,
        6,
    )
    board.add(
        bars(
            "Emissions by grid zone",
            "Emissions of the chosen time by the electricity grid that the machines stand in. A bar leads to the grid.",
            now(
                f"sort_desc({over(f'zone:jouleprint_host_emissions_co2e_grams:increase1h{{{CLUSTER}}}', 'grid_zone')})",
                "{{grid_zone}}",
            ),
            "massg",
            links=[to("grid", "This grid", grid_zone=label("grid_zone"))],
        ),
        8,
        6,
    )
    board.add(
        series(
            "Grams per kWh by cluster",
            """Emissions for each metered kilowatt hour by cluster and day, PUE included: which place is the cleanest,
            and when.""",
            target(
                f"""sum by (cluster) (sum_over_time({EMISSIONS}{DAY}))
                / (sum by (cluster) (sum_over_time({ENERGY}{DAY})) / {JOULES_A_KWH} > 0)""",
                "{{cluster}}",
            ),
            "massg",
            interval="1d",
        ),
        8,
        6,
    )

    board.row("Budgets")
    budget = "by (budget, owner, period)"
    used = f"max {budget} (budget:jouleprint_emissions_used_co2e_grams)"
    limit = f"max {budget} (budget:jouleprint_emissions_limit_co2e_grams)"
    board.add(
        table(
            "Budgets",
            """Each budget of the period that runs now: the limit, what is used, what is left, and what will be used by
            the end at the pace of the last days. Burning at 1 uses it up exactly at the end of the period.
            Empty where no budget is recorded (docs/budgets.md).""",
            [
                ("Budget", "budget", {"width": 140}),
                ("Owner", "owner", {"width": 100}),
                ("Period", "period", {"width": 70}),
                ("Limit", now(limit), {"unit": "massg", "width": 85}),
                ("Used", now(used), {"unit": "massg", "width": 85}),
                (
                    "Left",
                    now(f"max {budget} (budget:jouleprint_emissions_remaining:ratio)"),
                    {
                        "unit": "percentunit",
                        "cell": COLORED,
                        "decimals": 0,
                        "width": 65,
                        "thresholds": steps((None, "red"), (0, "orange"), (0.2, "transparent")),
                    },
                ),
                (
                    "By the end",
                    now(f"max {budget} (budget:jouleprint_emissions_projected_co2e_grams)"),
                    {"unit": "massg", "width": 90},
                ),
                (
                    "Burning at",
                    now(f"max {budget} (budget:jouleprint_emissions_burn:ratio_rate1d)"),
                    {
                        "unit": "short",
                        "decimals": 2,
                        "width": 90,
                        "cell": COLORED,
                        "thresholds": steps((None, "transparent"), (1.2, "orange"), (2, "red")),
                    },
                ),
                (
                    "Used up on",
                    now(f"max {budget} (budget:jouleprint_emissions_exhausted_timestamp_seconds) * 1000"),
                    {"unit": "dateTimeAsIso", "width": 165, "absent": "not foreseen"},
                ),
            ],
            sort="Burning at",
        ),
        16,
        6,
    )
    board.add(
        bars(
            "Used of each budget",
            "How much of each budget is used up in its running period. More than 100 % is over the limit.",
            now(f"sort_desc({used} / ({limit} > 0))", "{{budget}}"),
            "percentunit",
            thresholds=steps((None, "green"), (0.8, "orange"), (1, "red")),
            top=1,
            decimals=0,
            absent="no budget is recorded",
        ),
        8,
        6,
    )

    board.row("As much as")
    board.add(
        stat(
            "The chosen time is as much as",
            """What else emits as much, or uses as much electricity (households, smartphones). Each is another way to
            say the same; they are not to be added. Sources of the factors: data/equivalents.csv.""",
            equivalents(),
            "locale",
            decimals=0,
            names=True,
        ),
        16,
        5,
    )
    board.add(
        stat(
            "Machines",
            "Machines whose energy was counted in the last five minutes, of the chosen clusters.",
            now(f"count(node:hw_host_energy_joules:rate5m{{{CLUSTER}}})"),
            "short",
            decimals=0,
        ),
        4,
        5,
    )
    board.add(
        stat(
            "Revised since",
            """By how much emissions turned out larger than counted, because grid figures were corrected later; smaller if
            below 0. It is not in the other panels.""",
            now(f"sum(jouleprint_emissions_revision_co2e_grams{{{CLUSTER}}})"),
            "massg",
            thresholds=BAD_ABOVE_0,
        ),
        4,
        5,
    )
    return board
