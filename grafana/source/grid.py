"""The electricity: how clean it is now and ahead, who says so, and where and when it would be cleaner."""

from source.parts import (
    BAD_ABOVE_0,
    CLUSTER,
    COLORED,
    INKED,
    JOULES_A_KWH,
    YES_NO,
    Board,
    bars,
    choice,
    clusters,
    dashed,
    now,
    series,
    stat,
    steps,
    table,
    target,
)

ZONE = f'{CLUSTER},grid_zone=~"$grid_zone"'
AVERAGE = f'{ZONE},signal="average"'
INTENSITY = "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour"
FORECAST = "jouleprint_grid_carbon_intensity_forecast_grams_per_kilowatt_hour"

# Every host shows its zone's figure, and so does the relay. An exporter that reaches no provider has a yearly figure
# of the zone or of the world: it counts where nobody has a better one.
FIGURE = f"{INTENSITY}{{{AVERAGE}}}"
YEARLY = f'jouleprint_grid_intensity_info{{{AVERAGE},fallback=~"table|world"}}'
IN_FORCE = (
    f"(max by (grid_zone) ({FIGURE} unless on (cluster, instance, grid_zone, signal) {YEARLY})"
    f" or max by (grid_zone) ({FIGURE}))"
)
AHEAD = ["1h", "2h", "3h", "6h", "12h", "18h", "24h", "48h"]

# Of the lowest fifth of the world's grids up to its dirtiest, roughly.
INK = steps((None, "green"), (100, "semi-dark-green"), (200, "yellow"), (400, "orange"), (600, "red"))


def board():
    board = Board(
        "grid",
        """Carbon intensity of the electricity in force and ahead, where the figures come from and how old they are,
        and where and when the same work would emit less.""",
        [clusters(), choice("grid_zone", "Grid zone", f"label_values({INTENSITY}{{{CLUSTER}}}, grid_zone)")],
        start="now-24h",
        refresh="5m",
    )
    board.add(
        stat(
            "Intensity now",
            "Grams of CO2 equivalent for each kilowatt hour that are charged now, by grid zone.",
            now(IN_FORCE, "{{grid_zone}}"),
            "massg",
            names=True,
        ),
        10,
        5,
    )
    ahead = f'min by (grid_zone) ({FORECAST}{{{AVERAGE},horizon=~"1h|2h|3h|4h|6h|12h|18h|24h"}})'
    board.add(
        stat(
            "To gain by waiting a day at most",
            """How much lower the lowest forecast of the coming day is than the intensity now, by zone. `jouleprint when`
            names the hour. Needs a relay with forecasts.""",
            now(f"clamp_min(1 - {ahead} / ({IN_FORCE} > 0), 0)", "{{grid_zone}}"),
            "percentunit",
            decimals=0,
            names=True,
            absent="no forecast",
        ),
        7,
        5,
    )
    board.add(
        stat(
            "On fallback",
            """Zones whose intensity is not the one that was asked for: a provider does not answer, or nobody said which
            zone it is. The emissions counted meanwhile are of that figure.""",
            now(
                f"count(max by (grid_zone) (jouleprint_grid_intensity_fallback{{{AVERAGE}}}) > 0) or vector(0)"
            ),
            "short",
            decimals=0,
            thresholds=steps((None, "green"), (1, "orange")),
        ),
        3,
        5,
    )
    board.add(
        stat(
            "Figures since revised",
            """By how much emissions turned out larger than counted because figures were corrected later; smaller if below
            0. `jouleprint report` has it by day.""",
            now(f"sum(jouleprint_emissions_revision_co2e_grams{{{ZONE}}})"),
            "massg",
            thresholds=BAD_ABOVE_0,
            absent="nothing",
        ),
        4,
        5,
    )

    board.row("When")
    board.add(
        series(
            "Intensity, and what it was forecast to be",
            "The intensity in force, and what was forecast for the same time six hours and a day before.",
            [
                target(IN_FORCE, "{{grid_zone}}"),
                target(
                    f'max by (grid_zone) ({FORECAST}{{{AVERAGE},horizon="6h"}} offset 6h)',
                    "{{grid_zone}}, said 6 h before",
                ),
                target(
                    f'max by (grid_zone) ({FORECAST}{{{AVERAGE},horizon="24h"}} offset 24h)',
                    "{{grid_zone}}, said a day before",
                ),
            ],
            "massg",
            overrides=[dashed("B"), dashed("C")],
        ),
        12,
        9,
    )
    columns = [
        ("Grid zone", "grid_zone", {"width": 120}),
        ("now", now(IN_FORCE), {"unit": "none", "decimals": 0, "cell": COLORED, "thresholds": INK}),
    ]
    for horizon in AHEAD:
        expr = f'max by (grid_zone) ({FORECAST}{{{AVERAGE},horizon="{horizon}"}})'
        columns.append(
            (
                f"+{horizon[:-1]} h",
                now(expr),
                {"unit": "none", "decimals": 0, "cell": COLORED, "thresholds": INK, "absent": "–"},
            )
        )
    board.add(
        table(
            "Ahead",
            "Forecast grams per kilowatt hour by zone, for the time so far ahead. Needs a relay with forecasts.",
            columns,
            sort="now",
        ),
        12,
        9,
    )

    board.row("Where")
    board.add(
        bars(
            "Cleanest zones known",
            """The zones that the exporters and the relay know, the cleanest first. A relay may ask for zones where you have
            no machine yet. `jouleprint regions` compares the regions of clouds.""",
            now(f"sort({IN_FORCE})", "{{grid_zone}}"),
            "massg",
            thresholds=INK,
        ),
        8,
        9,
    )
    board.add(
        series(
            "Effective intensity",
            "Emissions for each kilowatt hour that was really used, over the hour before, PUE included, by zone.",
            target(
                f"zone:jouleprint_effective_intensity_grams_per_kilowatt_hour:ratio_rate1h{{{ZONE}}}",
                "{{cluster}} {{grid_zone}}",
            ),
            "massg",
        ),
        8,
        9,
    )
    energy = f"sum by (grid_zone) (sum_over_time(zone:hw_host_energy_joules:increase1h{{{ZONE}}}[$__range]))"
    emissions = f"sum by (grid_zone) (sum_over_time(zone:jouleprint_host_emissions_co2e_grams:increase1h{{{ZONE}}}[$__range]))"
    board.add(
        table(
            "Used by zone",
            "Energy and emissions of the chosen time by grid zone, PUE included in the emissions.",
            [
                ("Grid zone", "grid_zone", None),
                ("Energy", now(f"{energy} / 3600"), {"unit": "watth"}),
                ("Emissions", now(emissions), {"unit": "massg"}),
                (
                    "g/kWh",
                    now(f"{emissions} / ({energy} / {JOULES_A_KWH} > 0)"),
                    {"unit": "none", "decimals": 0, "cell": INKED, "thresholds": INK},
                ),
            ],
            sort="Emissions",
        ),
        8,
        9,
    )

    board.row("Who says so")
    by = "grid_zone, signal"
    facts = f"{by}, basis, accounting, quality, source, year, fallback"

    def dated(which):
        """A time of each figure: two exporters may have different ones of one zone."""
        time = f"jouleprint_grid_intensity_{which}_seconds{{{ZONE}}}"
        return f"max by ({facts}) (jouleprint_grid_intensity_info{{{ZONE}}} * on (cluster, instance, {by}) group_left () {time})"

    board.add(
        table(
            "Where the figures come from",
            """Each figure in force: who says it, of what year, what it includes (basis, accounting), how good it is,
            since when it is, and, if it stands in for one that was asked for, how far down the list it is
            (fallback). Marginal figures are charged to
            nobody.""",
            [
                ("Grid zone", "grid_zone", {"width": 100}),
                ("Signal", "signal", {"width": 90}),
                ("Source", "source", None),
                ("Year", "year", {"width": 60}),
                ("Basis", "basis", {"width": 100}),
                ("Accounting", "accounting", {"width": 120}),
                ("Quality", "quality", {"width": 110}),
                ("Fallback", "fallback", {"width": 120}),
                (
                    "g/kWh",
                    now(
                        f"max by ({facts}) (jouleprint_grid_intensity_info{{{ZONE}}} * on (cluster, instance, {by}) group_left () {INTENSITY}{{{ZONE}}})"
                    ),
                    {"unit": "none", "decimals": 0, "width": 80},
                ),
                (
                    "Age",
                    now(f"time() - {dated('timestamp')}"),
                    {"unit": "s", "decimals": 0, "width": 110, "absent": "yearly"},
                ),
                (
                    "Holds for",
                    now(f"{dated('valid_until_timestamp')} - time()"),
                    {"unit": "s", "decimals": 0, "width": 110, "absent": "–"},
                ),
            ],
        ),
        24,
        8,
    )
    provider = f'{CLUSTER},grid_zone=~"$grid_zone|"'
    board.add(
        table(
            "The relay's providers",
            "Whom the relay asks, whether they answer, and what is wrong if something is. Empty without a relay.",
            [
                ("Grid zone", "grid_zone", {"width": 100}),
                ("Source", "source", {"width": 150}),
                (
                    "Answers",
                    now(
                        f"""max by (grid_zone, source, reason, detail) (jouleprint_grid_provider_up{{{provider}}}
                        * on (cluster, instance, grid_zone, source, hw_id) group_left (reason, detail) jouleprint_grid_provider_info{{{provider}}})"""
                    ),
                    {
                        "width": 80,
                        "cell": COLORED,
                        "mappings": YES_NO,
                        "thresholds": steps((None, "red"), (1, "green")),
                    },
                ),
                ("Reason", "reason", {"width": 120}),
                ("Asked how", "detail", None),
                (
                    "Last answer",
                    now(
                        f"time() - max by (grid_zone, source) (jouleprint_grid_provider_last_success_timestamp_seconds{{{provider}}})"
                    ),
                    {"unit": "s", "decimals": 0, "width": 110},
                ),
            ],
        ),
        14,
        7,
    )
    board.add(
        series(
            "Questions to providers",
            "Questions of the relay to providers an hour, by how they ended; an empty reason is an answer.",
            target(
                f"""sum by (source, reason) (label_replace(rate(jouleprint_grid_provider_requests_total{{{provider}}}[$__rate_interval]),
                "reason", "answered", "reason", "")) * 3600""",
                "{{source}}: {{reason}}",
            ),
            "short",
            interval="30m",
        ),
        10,
        7,
    )
    return board
