"""Write the dashboards: `python -m deploy.grafana deploy/grafana/dashboards`."""

import sys
from pathlib import Path

from deploy.grafana.written import render_dashboards


def main(arguments: list[str]) -> int:
    """Write every dashboard into the folder given; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("say where to write: python -m deploy.grafana deploy/grafana/dashboards\n")
        return 2
    for name, text in render_dashboards().items():
        (Path(arguments[0]) / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
