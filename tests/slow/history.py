#!/usr/bin/env python3
"""Makes a Prometheus data folder with the past of a small fleet, and the recording rules evaluated over it.

    history.py FOLDER PROMETHEUS PROMTOOL --rules FILE... [--hosts N] [--hours H] [--days D] [--end SECONDS]

FOLDER/data has every series that the dashboards ask for: H hours of pages at a sample a minute, and before
them D days of what the hourly rules would have recorded. Prints when it ends. What is wrong in a fleet is in
it too: a source that is down, a zone on fallback, an accelerator that is given and not used.

The pages of `jouleprint simulate` have no past with jobs in it, and a page that is scraped has none at all.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

# No folder of compiled modules among the tests.
sys.dont_write_bytecode = True

from made_up_fleet import HOUR, STEP, Host, Relay  # noqa: E402


def recorded(hosts, start, end, write):
    """What the hourly rules record of these hosts in hours that no page is kept of."""
    for t in range(start, end, HOUR):
        totals = {}
        for host in hosts:
            host.groups.clear()
            energy, emissions = host.step(t, HOUR)
            for level, labels in (
                ("node", {"cluster": host.cluster, "host": host.name}),
                ("cluster", {"cluster": host.cluster}),
                ("zone", {"cluster": host.cluster, "grid_zone": host.zone}),
                ("organization", {}),
            ):
                for metric, much in (
                    ("hw_host_energy_joules", energy),
                    ("jouleprint_host_emissions_co2e_grams", emissions),
                ):
                    key = (f"{level}:{metric}:increase1h", *labels.items())
                    totals[key] = totals.get(key, 0.0) + much
            for (kind, group), used in host.groups.items():
                named = [
                    sum(of[at] for (other, name), of in host.groups.items() if other == kind and name)
                    for at in (0, 1)
                ]
                for at, metric in enumerate(("energy_joules", "emissions_co2e_grams")):
                    key = ("cluster", host.cluster), ("group_kind", kind), ("group", group)
                    plain = (f"group:jouleprint_group_{metric}:increase1h", *key)
                    totals[plain] = totals.get(plain, 0.0) + used[at]
                    if group and named[at] > 0:
                        what, unit = metric.split("_", 1)
                        shared = (f"group:jouleprint_group_{what}_with_overhead_{unit}:increase1h", *key)
                        everything = energy if at == 0 else emissions
                        totals[shared] = totals.get(shared, 0.0) + used[at] / named[at] * everything
        for (name, *labels), value in totals.items():
            inner = ",".join(f'{label}="{text}"' for label, text in labels if text)
            # A rule records an hour when it is over.
            write(f"{name}{{{inner}}} {value:.3f} {t + HOUR}\n")


def budgets(start, end, write):
    """What `jouleprint rules` would record of two budgets."""
    for t in range(start, end + 1, 300):
        for name, owner, limit, used in (
            ("atlas-month", "platform", 400e3, 262e3),
            ("research", "science", 60e3, 58e3),
        ):
            labels = f'{{budget="{name}",owner="{owner}",period="30d"}}'
            so_far = used * (0.98 + 0.02 * (t - start) / (end - start))
            burn = 1.1 if name == "atlas-month" else 1.9
            for rule, value in (
                ("budget:jouleprint_emissions_limit_co2e_grams", limit),
                ("budget:jouleprint_emissions_used_co2e_grams", so_far),
                ("budget:jouleprint_emissions_remaining:ratio", 1 - so_far / limit),
                ("budget:jouleprint_emissions_burn:ratio_rate1d", burn),
                ("budget:jouleprint_emissions_projected_co2e_grams", so_far * burn),
                (
                    "budget:jouleprint_emissions_exhausted_timestamp_seconds",
                    end + 86400 * (1 - so_far / limit) * 30 / burn,
                ),
            ):
                write(f"{rule}{labels} {value:.6f} {t}\n")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A Prometheus for the length of a `with`."""

    def __init__(self, program, folder, config):
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "history.yml").write_text(json.dumps(config))
        self.command = [
            program,
            f"--config.file={folder}/history.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self.url[7:]}",
            "--storage.tsdb.retention.time=400d",
            "--log.level=error",
        ]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/-/ready")
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit("history.py: Prometheus is not ready after a minute")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def stages(groups):
    """The recording rules in an order in which each finds what it reads: promtool does not see what it has just written."""
    rules = [(group, rule) for group in groups for rule in group["rules"] if rule["type"] == "recording"]
    depth = {}
    for _ in rules:
        for _, rule in rules:
            # What a rule says of itself an hour ago does not make it wait for itself.
            reads = [
                depth.get(other["name"], 0)
                for _, other in rules
                if other["name"] in rule["query"] and other["name"] != rule["name"]
            ]
            depth[rule["name"]] = 1 + max(reads, default=-1)
    for stage in range(max(depth.values()) + 1):
        chosen = {}
        for group, rule in rules:
            if depth[rule["name"]] == stage:
                # The minute of the hour comes from the names of file and group: all stages must have the same.
                name = group["name"]
                one = chosen.setdefault(
                    name, {"name": name, "interval": f"{int(group['interval'])}s", "rules": []}
                )
                one["rules"].append({"record": rule["name"], "expr": rule["query"]})
        yield {"groups": list(chosen.values())}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("prometheus")
    parser.add_argument("promtool")
    parser.add_argument("--rules", nargs="+", default=[])
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--hours", type=int, default=7)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--end", type=int, default=int(time.time()), help="when it ends, in seconds")
    asked = parser.parse_args()
    data = asked.folder / "data"
    data.mkdir(parents=True, exist_ok=True)

    end = asked.end // STEP * STEP
    start = end - asked.hours * HOUR
    hosts = [Host(number) for number in range(asked.hosts)]
    relay = Relay()
    with open(asked.folder / "past.om", "w", encoding="utf-8") as file:
        recorded(hosts, start - asked.days * 86400, start, file.write)
        budgets(start, end, file.write)
        for t in range(end - 50 * HOUR, start, 5 * STEP):
            relay.step(t, 5 * STEP)
            file.writelines(
                f"{key} {value:.6f} {t}\n" for key, value in relay.page.items() if "forecast" in key
            )
        for t in range(start, end + 1, STEP):
            for host in [*hosts, relay]:
                host.step(t, STEP)
                file.writelines(f"{key} {value:.6f} {t}\n" for key, value in host.page.items())
        file.write("# EOF\n")

    blocks = [asked.promtool, "tsdb", "create-blocks-from", "--max-block-duration=720h", "--quiet"]
    subprocess.run(
        [*blocks, "openmetrics", str(asked.folder / "past.om"), str(data)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (asked.folder / "past.om").unlink()

    # Prometheus reads the rules for us; nothing is evaluated, since no interval passes meanwhile.
    slow = {
        "global": {"evaluation_interval": "1h"},
        "rule_files": [str(pathlib.Path(path).resolve()) for path in asked.rules],
    }
    empty = asked.folder / "empty"
    empty.mkdir()
    with Server(asked.prometheus, empty, slow) as server:
        answer = json.load(urllib.request.urlopen(f"{server.url}/api/v1/rules"))
    for stage in stages(answer["data"]["groups"]):
        path = asked.folder / "stage.json"
        path.write_text(json.dumps(stage))
        with Server(asked.prometheus, asked.folder, {}) as server:
            subprocess.run(
                [
                    *blocks,
                    "rules",
                    f"--url={server.url}",
                    f"--start={start}",
                    f"--end={end}",
                    f"--output-dir={data}",
                    str(path),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
    print(end)


if __name__ == "__main__":
    main()
