"""Write what Prometheus and Alertmanager need, for your addresses: `python -m deploy.prometheus FOLDER --help`."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from deploy.prometheus.render import CONFIG_FILES, AddressError, Addresses, write_prometheus_config


def main(arguments: list[str]) -> int:
    """Write the files; return the exit status."""
    defaults = Addresses()
    parser = ArgumentParser("python -m deploy.prometheus", description="Write what Prometheus and Alertmanager need.")
    parser.add_argument("folder", type=Path, help="where to")
    parser.add_argument("--worker", action="append", metavar="HOST:PORT", help="every worker")
    parser.add_argument("--alertmanager", action="append", metavar="HOST:PORT", help="every Alertmanager")
    for name, description in (
        ("board", "of the board, for the links in alerts"),
        ("grafana", "of Grafana, for the same"),
        ("runbook", "of docs/runbook.md, for the same"),
        ("receiver", "where Alertmanager sends to"),
    ):
        parser.add_argument(f"--{name}", metavar="URL", default=getattr(defaults, name), help=description)
    options = parser.parse_args(arguments)
    addresses = Addresses(
        options.worker or defaults.workers,
        options.alertmanager or defaults.alertmanagers,
        options.board.rstrip("/"),
        options.grafana.rstrip("/"),
        options.runbook,
        options.receiver.rstrip("/"),
    )
    try:
        write_prometheus_config(options.folder, addresses)
    except AddressError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    for name in CONFIG_FILES:
        sys.stdout.write(f"{options.folder / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
