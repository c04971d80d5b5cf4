"""The rights that the commands of docs/kafka.md grant."""

import argparse
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.secure_kafka import Right


def documented_rights() -> Mapping[str, list[Right]]:
    """Return the rights of each user, as the commands grant them; the name of a prefix ends in *."""
    page = (Path(__file__).parents[2] / "docs" / "kafka.md").read_text(encoding="utf-8")
    granted: dict[str, list[Right]] = {}
    pasted = f"grant() {page.partition('grant()')[2].partition('```')[0]}"
    # What Kafka's tool is called with
    script = f"kafka-acls.sh() {{ printf '%q ' \"$@\"; echo; }}\n{pasted}"
    lines = subprocess.run(
        ["/bin/bash", "-euc", script], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for user, right in (found for line in lines for found in _parse_grant(line)):
        granted.setdefault(user, []).append(right)
    return granted


def _parse_grant(line: str) -> list[tuple[str, Right]]:
    """Return the rights of a command of `kafka-acls.sh`, each with its user; any other option is an error."""
    parser = argparse.ArgumentParser(prog="grant", exit_on_error=False, allow_abbrev=False)
    for option in ("--allow-principal", "--operation", "--topic", "--group"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("--resource-pattern-type", choices=("literal", "prefixed"), default="literal")
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--command-config", required=True)
    options = parser.parse_args(shlex.split(line))
    ending = "*" if options.resource_pattern_type == "prefixed" else ""
    resources = [("TOPIC", name) for name in options.topic] + [("GROUP", name) for name in options.group]
    return [
        (principal.removeprefix("User:"), Right(kind, f"{name}{ending}", as_kafka_says(operation)))
        for principal in options.allow_principal
        for kind, name in resources
        for operation in options.operation
    ]


def as_kafka_says(operation: str) -> str:
    """Return an operation as Kafka's own tool reads it: upper case, words apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
