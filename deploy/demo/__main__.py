"""Print the sample programme as JSON Lines: `python -m deploy.demo 2026-11-23`.

These are the valid events, in the order in which the demo publishes them; the day is the story's.
"""

import sys
from datetime import date

from deploy.demo.story import build_story
from models.domain.cloudevents import encode_structured


def main(arguments: list[str]) -> int:
    """Print the events of the day given; return the exit status."""
    try:
        day = date.fromisoformat(arguments[0])
    except (IndexError, ValueError):
        sys.stderr.write("usage: python -m deploy.demo 2026-11-23\n")
        return 2
    for event in build_story(day).events:
        sys.stdout.buffer.write(encode_structured(event)[1] + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
