"""The page of a programme's report: its span, and what it shows."""

from datetime import date, timedelta
from typing import Any, Final

from aiohttp import web
from sqlalchemy import Connection

from models.domain.report_span import Span
from models.views.report import Report, parse_span, read_report
from models.views.report_lines import further_sections, programme_sections, span_text, summary_text
from streams.clock import Clock
from streams.web.errors import BadQuery
from streams.web.read_model import ReadModel
from streams.web.urls import PageUrls

SINCE: Final = "since"
UNTIL: Final = "until"
#: Longer than any time that a clock gives.
_MAX_TEXT: Final = 64
#: How often it is looked up anew which sources are silent.
_SILENCE_STEP_SECONDS: Final = 600
#: Spans that the page offers: their first and last day, in days before today.
_PRESETS: Final = {"the last 7 days": (7, 0), "the 7 days before": (14, 7), "the last 30 days": (30, 0)}


def read_span(request: web.Request, today: date) -> Span:
    """Return the span that a request asks for; empty fields count as absent. Raises `BadQuery`."""
    since, until = (request.query.get(name) or None for name in (SINCE, UNTIL))
    if max(len(since or ""), len(until or "")) > _MAX_TEXT:
        raise BadQuery(text=f"{SINCE} and {UNTIL} have at most {_MAX_TEXT} characters.")
    try:
        return parse_span(since, until, today)
    except ValueError as error:
        raise BadQuery(text=f"The span is {error}.") from None


async def read_values(read_model: ReadModel, programme: str, revision: int, span: Span) -> dict[str, Any]:
    """Return what the page shows. Raises `StillCalculating`."""
    today, now = read_model.today(), Clock().now()
    # Which sources are silent changes with time.
    key = programme, span, today, now // _SILENCE_STEP_SECONDS
    values: dict[str, Any] = await read_model.find_by_revision(
        read_model.reports, key, programme, revision, _read_values, programme, span, today, now
    )
    return values


def _read_values(connection: Connection, programme: str, span: Span, today: date, now: float) -> dict[str, Any]:
    return _describe(read_report(connection, [programme], span, today, now), today)


def _describe(report: Report, today: date) -> dict[str, Any]:
    [programme] = report.programmes
    urls = PageUrls()

    def preset(begin: int, end: int) -> str:
        since, until = (str(today - timedelta(days)) for days in (begin, end))
        return urls.report_url(programme.programme, since=since, until=until)

    return {
        "span": span_text(report.span),
        **dict(zip((SINCE, UNTIL), report.span.as_parameters(), strict=True)),
        "summary": summary_text(programme),
        "sections": [*programme_sections(programme), *further_sections(report)],
        "link": lambda key: urls.milestone_url(key.programme, key),
        "presets": [(name, preset(*days)) for name, days in _PRESETS.items()],
    }
