"""Every dashboard as the text of its file."""

import json
from collections.abc import Mapping

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import gate, pipeline, programme


def render_dashboards() -> Mapping[str, str]:
    """Return file names and what stands in the files: the same for the same code."""
    built = [page.build_dashboard().build() for page in (programme, gate, pipeline)]
    return {
        f"{one.uid}.json": json.dumps(one, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for one in built
    }
