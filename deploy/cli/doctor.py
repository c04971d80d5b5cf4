"""The command `milepost doctor`."""

from typing import Annotated

import typer

from deploy.cli.console import print_json_list
from deploy.cli.options import DatabaseOption, JsonOption, KafkaOption, print_line, utc_now
from models.settings import read_settings

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(
    *,
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="worker, publisher, gateway, operator (of dead letters), auditor, notify, init or board.",
        ),
    ] = "worker",
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at each thing that must be right for a role.

    Says what to do where it is not, changes nothing, and fails when anything is wrong. What the role's program would
    only warn of is a warning here too.
    """
    from consumers.rights import Role  # noqa: PLC0415 - loads kafka-python
    from deploy.doctor import examine, finding_line  # noqa: PLC0415 - as above

    try:
        chosen = Role(role)
    except ValueError:
        raise typer.BadParameter(f"say one of {', '.join(Role)}", param_hint="--role") from None
    findings = []
    for finding in examine(read_settings(kafka=kafka, database=database), chosen, utc_now):
        findings.append(finding)
        if not as_json:
            print_line(finding_line(finding))
    if as_json:
        print_json_list(
            {"check": each.check, "ok": each.is_ok, "warning": each.is_warning, "detail": each.detail}
            for each in findings
        )
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)
