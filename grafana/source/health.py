"""The exporters themselves: whether they run, read, keep and deliver, and what that costs."""

from source.parts import (
    CLUSTER,
    COLORED,
    GOOD_AT_1,
    HOST,
    YES_NO,
    Board,
    cell,
    choice,
    clusters,
    hosts,
    now,
    series,
    stat,
    steps,
    table,
    target,
    to,
)

OWN = f'{CLUSTER},job=~"$job"'
RATE = "[$__rate_interval]"
NONE_IS_GOOD = steps((None, "green"), (1, "red"))


def board():
    board = Board(
        "health",
        "Whether the exporters run, read their sources, keep their counters and deliver them, and what they cost.",
        [
            clusters(),
            # Other programs have `up` and `process_*` too, under jobs that are not in this list.
            choice("job", "Job", "label_values(jouleprint_build_info, job)", listed=True),
            hosts(),
        ],
        start="now-6h",
        refresh="1m",
    )
    board.add(
        stat(
            "Exporters up",
            "Exporters and relays that Prometheus reads.",
            now(f"sum(up{{{OWN}}})"),
            "short",
            decimals=0,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Exporters down",
            "Targets that Prometheus knows and cannot read. Their counters go on when they are back; nothing is lost.",
            now(f"count(up{{{OWN}}} == 0) or vector(0)"),
            "short",
            decimals=0,
            thresholds=NONE_IS_GOOD,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Sources down",
            "Meters and other sources that an exporter cannot read now; the table below says which, and why.",
            now(f"count(jouleprint_source_up{{{HOST}}} == 0) or vector(0)"),
            "short",
            decimals=0,
            thresholds=steps((None, "green"), (1, "orange")),
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Stores down",
            "Exporters whose counters are on no disk: if one ends now, its counters begin at 0.",
            now(f"count(jouleprint_store_up{{{HOST}}} == 0) or vector(0)"),
            "short",
            decimals=0,
            thresholds=NONE_IS_GOOD,
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Oldest page",
            "Age of the oldest readings that any exporter shows. A tick is 5 s and Prometheus reads every few ticks.",
            now(f"max(time() - jouleprint_snapshot_timestamp_seconds{{{HOST}}})"),
            "s",
            decimals=0,
            thresholds=steps((None, "green"), (180, "orange"), (600, "red")),
        ),
        4,
        4,
    )
    board.add(
        stat(
            "Jobs without room",
            """Jobs that found no room on a page, and whose energy is in the overflow account, in the chosen time: raise
            the bound or look at fewer kinds of jobs.""",
            now(
                f"sum(max_over_time(jouleprint_jobs_overflow_total{{{HOST}}}[$__range]) - min_over_time(jouleprint_jobs_overflow_total{{{HOST}}}[$__range]))"
            ),
            "short",
            decimals=0,
            thresholds=steps((None, "green"), (1, "orange")),
        ),
        4,
        4,
    )

    board.row("Reading")
    buckets = f"sum by (le) (rate(jouleprint_tick_duration_seconds_bucket{{{HOST}}}{RATE}))"
    # Without a tick there is no quantile, which Prometheus writes as NaN.
    is_counted = f"(sum(rate(jouleprint_tick_duration_seconds_count{{{HOST}}}{RATE})) > 0)"
    board.add(
        series(
            "Time for a tick",
            """How long reading and accounting take, of all exporters: of a hundred ticks one takes longer than the upper
            line. It is far below the tick's own 5 s.""",
            [
                target(f"histogram_quantile(0.5, {buckets}) and on () {is_counted}", "median"),
                target(f"histogram_quantile(0.99, {buckets}) and on () {is_counted}", "99 of 100"),
            ],
            "s",
        ),
        8,
        8,
    )
    mean = (
        f"rate(jouleprint_tick_duration_seconds_sum{{{HOST}}}{RATE})"
        f" / (rate(jouleprint_tick_duration_seconds_count{{{HOST}}}{RATE}) > 0)"
    )
    board.add(
        series(
            "Slowest exporters",
            "Mean time for a tick of the ten exporters that take longest.",
            target(f"topk(10, max by (host) ({mean}))", "{{host}}"),
            "s",
        ),
        8,
        8,
    )
    board.add(
        series(
            "What went wrong",
            """An hour, of all exporters: ticks that did not take place, readings that failed, commits that failed, steps
            of the clock. Nothing is lost by any of them, unless meters show gaps.""",
            [
                target(f"sum(rate(jouleprint_ticks_skipped_total{{{HOST}}}{RATE})) * 3600", "ticks skipped"),
                target(
                    f"sum(rate(jouleprint_source_errors_total{{{HOST}}}{RATE})) * 3600", "readings failed"
                ),
                target(f"sum(rate(jouleprint_store_errors_total{{{HOST}}}{RATE})) * 3600", "commits failed"),
                target(f"sum(rate(jouleprint_clock_steps_total{{{HOST}}}{RATE})) * 3600", "clock set"),
            ],
            "short",
        ),
        8,
        8,
    )
    info = "group_left (reason, detail) jouleprint_source_info"
    board.add(
        table(
            "Sources that cannot be read",
            "Each source or meter that cannot be read now, the reason, and what is known of it. Empty is good.",
            [
                ("Cluster", "cluster", {"width": 90}),
                ("Host", "host", {"width": 120, "link": to("node", "This machine", host=cell("Host"))}),
                ("Source", "source", {"width": 90}),
                ("Meter", "hw_id", {"width": 130}),
                ("Reason", "reason", {"width": 110}),
                ("Detail", "detail", None),
                (
                    "Read",
                    now(
                        f"""max by (cluster, host, source, hw_id, reason, detail) ((jouleprint_source_up{{{HOST}}} == 0)
                        + on (cluster, host, source, hw_id) {info}{{{HOST}}}) - 1"""
                    ),
                    {"width": 60, "mappings": YES_NO},
                ),
            ],
        ),
        16,
        8,
    )
    unattributed = (
        f'sum(rate(jouleprint_residual_energy_joules_total{{{HOST},account=~"overflow|unattributed"}}{RATE}))'
    )
    metered = f'(sum(rate(hw_energy_joules_total{{{HOST},origin!=""}}{RATE})) > 0)'
    board.add(
        series(
            "Energy without an owner",
            """How much of all energy is charged to nobody for want of room (overflow) or of a way to tell who used it
            (unattributed).""",
            target(f"{unattributed} / {metered}", "overflow and unattributed"),
            "percentunit",
        ),
        8,
        8,
    )

    board.row("Keeping")
    commit = (
        f"sum(rate(jouleprint_store_commit_duration_seconds_total{{{HOST}}}{RATE}))"
        f" / (sum(rate(jouleprint_store_commits_total{{{HOST}}}{RATE})) > 0)"
    )
    board.add(
        series(
            "Time for a commit",
            "Mean time to write a tick to the store, of all exporters.",
            target(commit, "mean"),
            "s",
        ),
        6,
        7,
    )
    board.add(
        series(
            "Size of the store",
            "The ten largest stores on disk.",
            target(f"topk(10, max by (host) (jouleprint_store_size_bytes{{{HOST}}}))", "{{host}}"),
            "bytes",
        ),
        6,
        7,
    )
    board.add(
        table(
            "Stores and counters",
            """Each exporter: whether its counters are on disk, how the last start took them up, and for how long they
            have been counting without beginning at 0 again.""",
            [
                ("Host", "host", None),
                ("Restored", "restored", {"width": 120}),
                ("Trouble", "reason", {"width": 120}),
                (
                    "Kept",
                    now(
                        f"""max by (host, restored, reason) (jouleprint_store_up{{{HOST}}}
                        * on (cluster, host) group_left (restored, reason) jouleprint_store_info{{{HOST}}})"""
                    ),
                    {"width": 70, "cell": COLORED, "mappings": YES_NO, "thresholds": GOOD_AT_1},
                ),
                (
                    "Counting for",
                    now(f"time() - max by (host) (jouleprint_counters_start_timestamp_seconds{{{HOST}}})"),
                    {"unit": "s", "width": 120},
                ),
                (
                    "Last commit",
                    now(f"time() - max by (host) (jouleprint_store_last_commit_timestamp_seconds{{{HOST}}})"),
                    {"unit": "s", "width": 110},
                ),
            ],
            sort="Last commit",
        ),
        12,
        7,
    )

    board.row("Delivering")
    board.add(
        series(
            "Time for a scrape",
            "How long Prometheus takes to read a page: the mean and the slowest.",
            [
                target(f"avg(scrape_duration_seconds{{{OWN}}})", "mean"),
                target(f"max(scrape_duration_seconds{{{OWN}}})", "slowest"),
            ],
            "s",
        ),
        6,
        7,
    )
    board.add(
        series(
            "Series",
            "Samples that Prometheus reads from all exporters at a scrape: about the series they keep alive.",
            target(f"sum(scrape_samples_scraped{{{OWN}}})", "samples"),
            "short",
        ),
        6,
        7,
    )
    board.add(
        series(
            "Pushes over OTLP",
            "Pushes an hour by how they went. One that did not arrive is made up for by the next. Empty without OTLP.",
            target(
                f"sum by (outcome) (rate(jouleprint_otlp_pushes_total{{{HOST}}}{RATE})) * 3600", "{{outcome}}"
            ),
            "short",
        ),
        6,
        7,
    )
    board.add(
        series(
            "OTLP not arriving",
            "Exporters whose last push did not arrive, and points that a backend would not have, an hour.",
            [
                target(
                    f"count(jouleprint_otlp_up{{{HOST}}}) - sum(jouleprint_otlp_up{{{HOST}}})", "exporters"
                ),
                target(
                    f"sum(rate(jouleprint_otlp_rejected_points_total{{{HOST}}}{RATE})) * 3600",
                    "points refused",
                ),
            ],
            "short",
        ),
        6,
        7,
    )

    board.row("Cost")
    board.add(
        series(
            "Processor time",
            "What exporters use of one processor: the mean, and the ten largest.",
            [
                target(f"avg(rate(process_cpu_seconds_total{{{OWN}}}{RATE}))", "mean of all"),
                target(f"topk(10, rate(process_cpu_seconds_total{{{OWN}}}{RATE}))", "{{instance}}"),
            ],
            "percentunit",
        ),
        8,
        8,
    )
    board.add(
        series(
            "Memory",
            "Memory of the exporters: the mean, and the ten largest.",
            [
                target(f"avg(process_resident_memory_bytes{{{OWN}}})", "mean of all"),
                target(f"topk(10, process_resident_memory_bytes{{{OWN}}})", "{{instance}}"),
            ],
            "bytes",
        ),
        8,
        8,
    )
    board.add(
        table(
            "Versions",
            "Which versions run, and how many of each.",
            [
                ("Version", "version", None),
                (
                    "Exporters and relays",
                    now(f"count by (version) (jouleprint_build_info{{{OWN}}})"),
                    {"decimals": 0},
                ),
            ],
            sort="Exporters and relays",
        ),
        8,
        8,
    )
    return board
