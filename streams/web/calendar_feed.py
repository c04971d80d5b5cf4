"""`calendar.ics`: the milestones of a programme as all-day events (RFC 5545), for calendars that subscribe."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from icalendar import Calendar, Timezone, TimezoneStandard
from icalendar import Event as CalendarEvent

from models.domain.claims import NO_PROJECT_CLAIMS, ProjectClaims, ProjectKey
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import instant_of
from models.text import printable
from models.views.explanation import days_phrase
from models.views.formatting import format_count, format_day
from models.views.names import milestone_name, project_name
from models.views.upcoming import own_dates
from streams.web.programme_view import ProgrammeView
from streams.web.urls import PageUrls

#: What SEQUENCE counts from: a calendar takes over what was rendered on a later day.
_FIRST_DAY: Final = date(2020, 1, 1)
#: How often a calendar asks again.
_REFRESH: Final = timedelta(hours=1)


def render_calendar(view: ProgrammeView, board_url: str | None) -> bytes:
    """Return the open and the achieved milestones that have a date; each links to its page, if that address is known.

    The result depends on the picture alone: what nobody said anew stays the same on the same day.
    """
    name = view.registration.name
    title = printable(view.programme if name is None else name.value)
    calendar = Calendar()
    calendar.add("PRODID", "-//Milepost//Milestones//EN")
    calendar.add("VERSION", "2.0")
    calendar.add("X-WR-CALNAME", title)
    calendar.add("NAME", title)
    calendar.add("REFRESH-INTERVAL", _REFRESH, parameters={"VALUE": "DURATION"})
    passed = own_dates(view.facts, view.statuses)
    for status in view.statuses:
        if status.forecast is not None and status.state is not State.CANCELLED:
            project = view.facts.projects.get(ProjectKey(*status.key[:2]), NO_PROJECT_CLAIMS)
            calendar.add_component(_event(status, status.forecast, project, passed, view.schedule.data_date, board_url))
    if not calendar.subcomponents:
        # RFC 5545, 3.6: a calendar has at least one component, even one without events.
        calendar.add_component(_utc())
    return bytes(calendar.to_ical())


def _utc() -> Timezone:
    zone, standard = Timezone(), TimezoneStandard()
    zone.add("TZID", "Etc/UTC")
    standard.add("DTSTART", datetime(1970, 1, 1))  # noqa: DTZ001 - RFC 5545 demands local time here
    standard.add("TZOFFSETFROM", timedelta(0))
    standard.add("TZOFFSETTO", timedelta(0))
    zone.add_component(standard)
    return zone


def _event(  # noqa: PLR0913 - what an event says of a milestone
    status: MilestoneStatus,
    day: date,
    project: ProjectClaims,
    passed: Mapping[MilestoneRef, date],
    data_date: date,
    board_url: str | None,
) -> CalendarEvent:
    stamp = status.last_claim_stamp
    instant = f"{data_date}T00:00:00" if stamp is None else instant_of(stamp)
    changed = datetime.fromisoformat(instant[:19]).replace(tzinfo=UTC)
    event = CalendarEvent()
    event.add("UID", f"{'/'.join(status.key)}@milepost")
    event.add("DTSTAMP", changed)
    event.add("LAST-MODIFIED", changed)
    event.add("SEQUENCE", max(0, (data_date - _FIRST_DAY).days))
    event.add("DTSTART", day)
    if day < date.max:
        event.add("DTEND", day + timedelta(days=1))
    name = project_name(status.project, None if project.name is None else project.name.value)
    what = milestone_name(status.milestone, status.name)
    due = passed.get(status.ref)
    event.add("SUMMARY", printable(f"{name}: {what}{_state_words(status, due)}"))
    event.add("DESCRIPTION", "\n".join(_description(status, due)))
    event.add("STATUS", "CONFIRMED" if status.state is State.ACHIEVED else "TENTATIVE")
    event.add("TRANSP", "TRANSPARENT")
    event.add("CATEGORIES", [str(status.state)])
    if board_url is not None:
        event.add("URL", f"{board_url.rstrip('/')}{PageUrls().milestone_url(status.programme, status.key)}")
    return event


def _state_words(status: MilestoneStatus, due: date | None) -> str:
    if due is not None:
        return f" (was due {format_day(due)})"
    late = f"{days_phrase(status.slip_days)} late" if status.slip_days and status.slip_days > 0 else ""
    if status.state is State.ACHIEVED:
        return f" (achieved, {late})" if late else " (achieved)"
    return f" ({late})" if late else ""


def _description(status: MilestoneStatus, due: date | None) -> list[str]:
    lines = [f"{'/'.join(status.key)}: {status.state}."]
    if due is not None:
        lines.append("Nobody reported it as done, so it comes today at the earliest.")
    if status.baseline is not None:
        lines.append(f"First planned for {format_day(status.baseline)}.")
    if status.driver is not None:
        lines.append(f"It waits for {status.driver}.")
    if status.dependents and status.is_open:
        lines.append(f"{format_count(status.dependents, 'milestone waits', 'milestones wait')} for it.")
    return lines
