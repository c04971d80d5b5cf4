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
    parser.add_argument("--board", metavar="URL", default=defaults.board, help="of the board, for the links in alerts")
    parser.add_argument("--grafana", metavar="URL", default=defaults.grafana, help="of Grafana, for the same")
    parser.add_argument("--runbook", metavar="URL", default=defaults.runbook, help="of docs/runbook.md, for the same")
    parser.add_argument("--receiver", metavar="URL", default=defaults.receiver, help="where Alertmanager sends to")
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
