"""Runs every benchmark of this folder, or those named, prints the figures and writes ``bench/results.json``.

A benchmark is a module with ``run() -> list[Result]``. When only some are named, the others keep their last figures.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.result import Result

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
NOT_BENCHMARKS = {"__main__", "result", "reconcile_child"}


def main(names: Sequence[str]) -> int:
    """0 when every benchmark ran, 1 when one failed, 2 when a name is unknown."""
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    if unknown := sorted(set(names) - set(known)):
        print(f"unknown benchmark {', '.join(unknown)}; expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    failed = False
    figures = _kept() if names else {}
    for name in names or known:
        print(f"— {name}", flush=True)
        try:
            results: list[Result] = importlib.import_module(f"bench.{name}").run()
        except Exception as error:  # the other benchmarks are still worth running
            print(f"  failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        for measured in results:
            print(f"  {measured}", flush=True)
        figures |= {measured.name: asdict(measured) for measured in results}
    RESULTS.write_text(json.dumps(list(figures.values()), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(failed)


def _kept() -> dict[str, dict[str, Any]]:
    if not RESULTS.exists():
        return {}
    return {figure["name"]: figure for figure in json.loads(RESULTS.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
