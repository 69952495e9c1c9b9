"""Where the time of the shipped plan goes, one cell after another and side by side.

``python benchmarks/whole_plan.py --jobs 2`` runs the plan twice in fresh copies of the project, by `dvc repro` and by
`lab run --jobs 2`, in the environment that runs this script, and prints for each: the seconds of the trials
of every stage, what is left for everything else, how long the part that trains took, whether both made the same bytes,
and how long a run takes that finds nothing to do. A quarter of an hour, and nothing else may compute meanwhile.
With ``--split task model`` a third one is `dvc repro` of the same plan after `lab split task model`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.system import hardware
from tests.chaos import Lab, differences

TRAINING = ("prepare", "pretrain", "finetune", "distill", "compress")


def measured(folder: Path, jobs: int, split: list[str]) -> Lab:
    """Run the plan in a fresh copy, split by some axes, print what it took, and return the copy."""

    def change(copy: Path) -> None:
        if split:
            subprocess.run([sys.executable, "-m", "pipeline.cli.main", "split", *split], cwd=copy, check=True)

    lab = Lab.copy(folder, change, jobs=jobs)
    started, log = time.time(), folder.with_suffix(".log")
    if status := lab.repro(log).wait():
        raise SystemExit(f"{log}: ended with status {status}")
    whole = time.time() - started
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("metrics/*/*.json"))]
    spent: Counter[str] = Counter()
    for record in records:
        spent[record["stage"]] += sum(trial["trial_seconds"] for trial in record["trials"])
    ends = sorted((path.stat().st_mtime, path.parent.name) for path in folder.glob("metrics/*/*.json"))
    training = sum(end - before for (before, _), (end, stage) in pairwise([(started, ""), *ends]) if stage in TRAINING)
    how = f"{jobs} jobs" if jobs else f"dvc repro, split by {' '.join(split)}" if split else "dvc repro"
    print(f"\n{how}: {whole:.0f} s, {len(records)} cells")
    for stage, seconds in spent.items():
        print(f"  {stage}: {seconds:.1f} s of trials")
    print(f"  all trials: {sum(spent.values()):.1f} s; everything else: {1 - sum(spent.values()) / whole:.1%}")
    print(f"  the part that trains: {training:.1f} s")
    lab.end()
    return lab


def nothing(lab: Lab) -> float:
    """Return the seconds that a `dvc repro` takes which finds nothing to do: the least of five."""
    found = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=lab.root, check=True)
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    """Measure both and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=hardware.count_cores())
    parser.add_argument("--split", nargs="+", default=[])
    given = parser.parse_args()
    print(hardware.describe_machine())
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        one = measured(Path(folder) / "one", 0, [])
        for jobs, split in [(given.jobs, []), *([(0, given.split)] if given.split else [])]:
            other = measured(Path(folder) / ("split" if split else "jobs"), jobs, split)
            print("\nthe same bytes" if not (found := differences(one, other)) else "\n".join(found))
        print(f"nothing to do: {nothing(one):.2f} s")


if __name__ == "__main__":
    main()
