"""Write what Prometheus and Alertmanager need, for your addresses: `python -m deploy.prometheus FOLDER --help`.

The board's address is MILEPOST_BOARD_URL unless it is given.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

from deploy.prometheus.render import CONFIG_FILES, AddressError, Addresses, write_prometheus_config
from models.settings import SettingsError, read_settings


def main(arguments: list[str]) -> int:
    """Write the files; return the exit status."""
    defaults, problem = Addresses(), ""
    try:
        board = read_settings().board_url or defaults.board
    except SettingsError as error:
        board, problem = defaults.board, str(error)
    parser = ArgumentParser("python -m deploy.prometheus", description="Write what Prometheus and Alertmanager need.")
    parser.add_argument("folder", type=Path, help="where to")
    parser.add_argument("--worker", action="append", metavar="HOST:PORT", help="every worker")
    parser.add_argument("--gateway", action="append", metavar="HOST:PORT", help="every gateway's metrics")
    parser.add_argument("--notify", action="append", metavar="HOST:PORT", help="every `milepost notify`'s metrics")
    parser.add_argument("--alertmanager", action="append", metavar="HOST:PORT", help="every Alertmanager")
    parser.add_argument("--board", metavar="URL", default=board, help="of the board, for the links in alerts")
    parser.add_argument("--grafana", metavar="URL", default=defaults.grafana, help="of Grafana, for the same")
    parser.add_argument("--runbook", metavar="URL", default="", help="of the runbook, unless it is the board's")
    parser.add_argument("--receiver", metavar="URL", default=defaults.receiver, help="where Alertmanager sends to")
    options = parser.parse_args(arguments)
    if problem:
        parser.error(problem)
    addresses = Addresses(
        options.worker or defaults.workers,
        options.alertmanager or defaults.alertmanagers,
        options.board.rstrip("/"),
        options.grafana.rstrip("/"),
        options.runbook,
        options.receiver.rstrip("/"),
        # Whoever names workers and no gateway has none; `milepost notify` likewise.
        options.gateway or (() if options.worker else defaults.gateways),
        options.notify or (() if options.worker else defaults.notifiers),
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
