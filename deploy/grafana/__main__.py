"""Write the dashboards: `python -m deploy.grafana deploy/grafana/dashboards`."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import gate, pipeline, programme


def main(arguments: list[str]) -> int:
    """Write every dashboard into the folder given; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m deploy.grafana deploy/grafana/dashboards\n")
        return 2
    for module in (programme, gate, pipeline):
        dashboard = module.DASHBOARD.build()
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        (Path(arguments[0]) / f"{dashboard.uid}.json").write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
