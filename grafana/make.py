#!/usr/bin/env python3
"""Writes the seven dashboards beside this file; `--check` says which of them are not as written here.

The JSON is what users provision and compare, and it is kept in the repository. It is made by this script
because the seven share their variables, links, looks and most of their selectors, and a change to one of those
by hand is a change in two hundred places. Needs Python's standard library alone.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from source import cluster, gpu, grid, health, jobs, node, overview  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BOARDS = {
    "overview": overview.board,
    "cluster": cluster.board,
    "node": node.board,
    "jobs": jobs.board,
    "gpu": gpu.board,
    "grid": grid.board,
    "health": health.board,
}


def main() -> int:
    stale = []
    for name, board in BOARDS.items():
        path = HERE / f"{name}.json"
        text = json.dumps(board().json(), indent=2, ensure_ascii=False) + "\n"
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"grafana/make.py: not as written in grafana/source: {', '.join(stale)} (run grafana/make.py)")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
