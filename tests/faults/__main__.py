"""`make faults`: every scenario again and again with other seeds; writes the table of docs/reliability.md.

`python -m tests.faults [--runs N] [--seed S] [--only TEXT]`; `--soak 30m [--rate 2000]`: one long run of many.
"""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.faults.ground import Ground
from tests.faults.run import Outcome, run
from tests.faults.scenarios import SCENARIOS
from tests.faults.soak import soak

_PAGE = Path("docs/reliability.md")
_BEGIN, _END = "<!-- what `make faults` measured -->\n", "<!-- until here -->\n"


def main() -> int:
    """Run what is asked for; return 1 when anything was lost, doubled or wrong."""
    reading = argparse.ArgumentParser(prog="python -m tests.faults")
    reading.add_argument("--runs", type=int, default=5)
    reading.add_argument("--seed", type=int, default=1)
    reading.add_argument("--only", default="", help="scenarios whose name has this")
    reading.add_argument("--soak", default="", help="faults for so long, e.g. 30m or 90s, under one load")
    reading.add_argument("--rate", type=float, default=2000.0, help="events a second of a soak")
    told = reading.parse_args()
    if told.soak:
        return _soak(told.seed, _seconds(told.soak), told.rate)
    names = [name for name in SCENARIOS if told.only in name]
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    failed = 0
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-faults-")))
        ground = Ground(folder, ending)
        for seed in range(told.seed, told.seed + told.runs):
            for name in names:
                place = folder / f"{seed}-{names.index(name)}"
                place.mkdir()
                began = time.monotonic()
                try:
                    outcome = run(name, ground, place, seed)
                except Exception as error:  # noqa: BLE001 - whatever it is, the run did not hold, and the next may
                    failed += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    kept = Path(tempfile.mkdtemp(prefix="milepost-failed-"))
                    shutil.copytree(place, kept, dirs_exist_ok=True)
                    sys.stdout.write(
                        f"{name}, seed {seed}: {type(error).__name__} at {Path(where.filename).name}:{where.lineno}:"
                        f" {error} ({time.monotonic() - began:.0f} s); what its workers said is in {kept}\n"
                    )
                    sys.stdout.flush()
                    continue
                outcomes[name].append(outcome)
                sys.stdout.write(
                    f"{name}, seed {seed}: recovery {outcome.recovery_seconds:.1f} s,"
                    f" lost {outcome.lost}, doubled {outcome.doubled}, took {outcome.seconds:.0f} s\n"
                )
                sys.stdout.flush()
    if not told.only:
        _write(outcomes, told.runs)
    return 1 if failed or any(o.lost or o.doubled for each in outcomes.values() for o in each) else 0


def _seconds(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _soak(seed: int, seconds: float, a_second: float) -> int:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-soak-")))
        done = soak(Ground(folder, ending), folder, seed, seconds, a_second)
    records, events, lost, doubled = done.verdict
    sys.stdout.write(
        f"{done.seconds / 60:.0f} minutes, {done.faults.total()} faults of {len(done.faults)} kinds,"
        f" {records:,} records, {events:,} events: lost {lost}, doubled {doubled};"
        f" recovery p50 {median(done.recoveries):.1f} s, max {max(done.recoveries):.1f} s; seed {seed}\n"
    )
    return 1 if lost or doubled else 0


def _write(outcomes: dict[str, list[Outcome]], runs: int) -> None:
    lines = ["| scenario | runs | held | events | lost | doubled | recovery p50 | max | seeds |", "|---|" + "---:|" * 8]
    lines += [_row(name, each, runs) for name, each in outcomes.items()]
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    _PAGE.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + _END + after)


def _row(name: str, each: Sequence[Outcome], runs: int) -> str:
    seconds = sorted(outcome.recovery_seconds for outcome in each) or [float("nan")]
    seeds = f"{each[0].seed}-{each[-1].seed}" if each else ""
    numbers = (runs, len(each), *(sum(getattr(o, n) for o in each) for n in ("events", "lost", "doubled")))
    shown = " | ".join(f"{number:,}" for number in numbers)
    return f"| {name} | {shown} | {median(seconds):.1f} s | {seconds[-1]:.1f} s | {seeds} |"


if __name__ == "__main__":
    sys.exit(main())
