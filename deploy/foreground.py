"""`milepost kafka`: a Kafka in the foreground, until it is told to stop."""

import signal
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from deploy.broker import running_broker
from deploy.broker_error import BrokerError
from deploy.kafka_folder import HOST
from deploy.ports import free_port

DEFAULT_PORT: Final = 9092
_LOOK_SECONDS: Final = 0.5


def serve_kafka(data: Path, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM; raises `BrokerError` when Kafka cannot run or ends by itself.

    Without a port it is Kafka's usual one when that is free, else any, and then a line says how others find it.
    """
    signal.signal(signal.SIGTERM, _stop)
    chosen = port or free_port(HOST, DEFAULT_PORT)
    with running_broker(data, port=chosen) as broker:
        sys.stdout.write(f"kafka {broker.bootstrap}\n")
        sys.stdout.flush()
        if broker.port != DEFAULT_PORT:
            sys.stderr.write(f"export MILEPOST_KAFKA={broker.bootstrap}\n")
        while broker.alive:
            time.sleep(_LOOK_SECONDS)
        raise BrokerError(f"Kafka ended by itself: its log is {broker.log}")


def _stop(_number: int, _frame: object) -> NoReturn:
    # Told to stop, it stops: unwinding ends Kafka, and that is no failure.
    raise SystemExit(0)
