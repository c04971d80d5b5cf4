"""`make fuzz`: what outsiders send, changed at random, for ten minutes or as long as is asked for.

`python -m tests.fuzz [--minutes N] [--only NAME] [--seed S]`. A failure prints the smallest example and its seed.
Every `make test` runs the seeds in tests/fuzz/seeds.txt.
"""

import argparse
import sys
import time
import traceback
from itertools import count
from typing import Final

from tests.fuzz.targets import open_targets

_EXAMPLES: Final = 500


def main() -> int:
    """Run until the time is up; return 1 when a promise was broken."""
    line = argparse.ArgumentParser(prog="python -m tests.fuzz")
    line.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    line.add_argument("--only", default="", help="the target of this name: decode, files or web")
    line.add_argument("--seed", type=int, default=int(time.time()), help="the first seed (default: the time)")
    told = line.parse_args()
    until = time.monotonic() + 60 * told.minutes
    examples: dict[str, int] = {}
    with open_targets() as targets:
        for seed in count(told.seed):
            for name, target in targets.items():
                if told.only not in {"", name}:
                    continue
                if time.monotonic() > until:
                    sys.stdout.write(f"nothing was found: {examples}\n")
                    return 0
                try:
                    target.run(seed, _EXAMPLES)
                except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
                    traceback.print_exc()
                    sys.stdout.write(f"found by: {name} {seed}\n")
                    return 1
                examples[name] = examples.get(name, 0) + _EXAMPLES
    return 0


if __name__ == "__main__":
    sys.exit(main())
