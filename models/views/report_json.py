"""A report as JSON: the whole of it, however long."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from models.domain.events import Event
from models.domain.history import HistoryEntry
from models.domain.impact import NO_IMPACT, Impact
from models.domain.report import LateEvent, ProgrammeReport, ReportRow, Retraction
from models.domain.schedule import MilestoneStatus
from models.domain.timestamps import instant_from_epoch_ms
from models.views.explanation import data_field
from models.views.report import Report
from models.views.status import encode_json

_MS_PER_SECOND: Final = 1000
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7e]")


def report_to_json(report: Report) -> str:
    """Return a report as one JSON object; `since` is its first instant, `until` the first one after it.

    In ASCII, because a terminal interprets some characters that JSON may contain.
    """
    silent = [
        {
            "source": source.source,
            "last_event": f"{instant_from_epoch_ms(round(source.last * _MS_PER_SECOND))}Z",
            "silence_seconds": round(source.silence_seconds),
            "rhythm_seconds": round(source.rhythm_seconds),
        }
        for source in report.silent_sources
    ]
    encoded = encode_json(
        {
            "since": f"{report.span.start}Z",
            "until": f"{report.span.end}Z",
            "programmes": list(map(_programme_to_dict, report.programmes)),
            "quiet_programmes": report.quiet_programmes,
            "silent_sources": silent,
        }
    ).decode()
    # Outside of texts, JSON is in ASCII anyway.
    return _NOT_ASCII.sub(lambda character: json.dumps(character[0])[1:-1], encoded)


def _programme_to_dict(report: ProgrammeReport) -> dict[str, Any]:
    registration = report.facts.programmes.get(report.programme)
    return {
        "programme": report.programme,
        "name": registration.name.value if registration is not None and registration.name is not None else None,
        "data_date": report.data_date,
        "achieved": list(map(_row_to_dict, report.achieved)),
        "moved": list(map(_row_to_dict, report.moved)),
        "newly_late": list(map(_status_to_dict, report.newly_late)),
        "new": _rows_and_undated(report.new, report.new_undated),
        "cancelled": _rows_and_undated(report.cancelled, report.cancelled_undated),
        "retracted": list(map(_retraction_to_dict, report.retracted)),
        "said_late": list(map(_late_event_to_dict, report.said_late)),
        "overdue": [{**_status_to_dict(status), "due": due} for status, due in report.overdue],
        "coming": list(map(_status_to_dict, report.coming)),
        "gates": [
            {**_status_to_dict(status), "dependents": status.dependents, **_impact_to_dict(impact)}
            for status, impact in report.gates
        ],
    }


def _rows_and_undated(rows: Sequence[ReportRow], undated: Iterable[MilestoneStatus]) -> list[dict[str, Any]]:
    return [*map(_row_to_dict, rows), *map(_undated_to_dict, undated)]


def _row_to_dict(row: ReportRow) -> dict[str, Any]:
    return {
        **_entry_to_dict(row.entry),
        **_cause_to_dict(row.cause),
        "moves": [_name_of(entry) for entry in row.followers],
        **_impact_to_dict(row.impact),
    }


def _undated_to_dict(status: MilestoneStatus) -> dict[str, Any]:
    """Return a row of a milestone that never had a forecast, so that no event moved one."""
    dates = dict.fromkeys(("said", "from", "to", "own_from", "own_to", "slip_days"))
    cause = dict.fromkeys(("source", "id", "reason", "remark"))
    key = {"project": status.project, "milestone": status.milestone}
    state = {"state": status.state, "driver": None}
    return {**key, **dates, **state, **cause, "moves": [], **_impact_to_dict(NO_IMPACT)}


def _entry_to_dict(entry: HistoryEntry) -> dict[str, Any]:
    """Return the fields of `history --json`."""
    return {
        "project": entry.milestone.project,
        "milestone": entry.milestone.milestone,
        "said": f"{entry.said}Z",
        "from": entry.previous,
        "to": entry.current,
        "own_from": entry.own_previous,
        "own_to": entry.own_current,
        "slip_days": entry.slip_days,
        "state": entry.state,
        "driver": None if entry.driver is None else str(entry.driver),
    }


def _cause_to_dict(cause: Event) -> dict[str, Any]:
    texts = {name: data_field(cause, name) for name in ("reason", "remark")}
    return {"source": cause.source, "id": cause.id, **texts}


def _impact_to_dict(impact: Impact) -> dict[str, Any]:
    return impact._asdict()


def _retraction_to_dict(retraction: Retraction) -> dict[str, Any]:
    return {
        "said": f"{retraction.event.instant}Z",
        **_cause_to_dict(retraction.event),
        "retracted": None if retraction.retracted is None else _event_to_dict(retraction.retracted),
        "rows": list(map(_entry_to_dict, retraction.rows)),
    }


def _late_event_to_dict(late: LateEvent) -> dict[str, Any]:
    return {
        **_event_to_dict(late.event),
        "arrived": f"{late.arrived}Z",
        "rows": list(map(_entry_to_dict, late.rows)),
    }


def _event_to_dict(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "project": event.project or None,
        "milestone": data_field(event, "milestone"),
        "said": f"{event.instant}Z",
        **_cause_to_dict(event),
        "classifier": data_field(event, "classifier"),
        "date": data_field(event, "date"),
    }


def _status_to_dict(status: MilestoneStatus) -> dict[str, Any]:
    return {
        "project": status.project,
        "milestone": status.milestone,
        "baseline": status.baseline,
        "forecast": status.forecast,
        "slip_days": status.slip_days,
        "state": status.state,
        "driver": None if status.driver is None else str(status.driver),
    }


def _name_of(entry: HistoryEntry) -> str:
    return f"{entry.milestone.project}/{entry.milestone.milestone}"
