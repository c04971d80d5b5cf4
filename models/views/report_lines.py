"""A report in sentences: what text, Markdown and HTML all say, each in its own form."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple, TypeVar

from models.domain import events
from models.domain.claims import MilestoneKey
from models.domain.events import Classifier, Event
from models.domain.history import HistoryEntry
from models.domain.report import (
    COMING_DAYS,
    GateImpact,
    LateEvent,
    OverdueMilestone,
    ProgrammeReport,
    ReportRow,
    Retraction,
    RowKind,
    Span,
)
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.silence import SilentSource
from models.domain.timestamps import Instant, day_of, instant_from_epoch_ms
from models.views.explanation import data_field, days_phrase
from models.views.names import Names, names_of, shortened
from models.views.report import Report
from models.views.wording import enumerate_phrases, format_count, format_day, format_duration, held_up_phrases

#: How many lines of a section are written, and how many milestones a line names that moved with another.
MAX_LINES: Final = 50
MAX_FOLLOWERS: Final = 10

T = TypeVar("T")


class Words(NamedTuple):
    """A part of a sentence."""

    text: str
    #: `name`, `slug`, `late`, `early` or `source`; empty for plain words.
    style: str = ""
    #: The milestone that the words name.
    milestone: MilestoneKey | None = None


Sentence = Sequence[Words]


class Line(NamedTuple):
    """An item of a list: the day that counts, what is said, and more about that."""

    day: date | None
    sentence: Sentence
    details: Sequence[Sentence] = ()


class Section(NamedTuple):
    """A list under a heading."""

    #: Names the section for programs.
    key: str
    title: str
    total: int
    #: At most `MAX_LINES` of them, and what is said of the others.
    lines: Sequence[Line]
    more: str = ""


def span_text(span: Span) -> str:
    """Return a span in words: of whole days those, else with the times."""
    first, last = span.first_day, span.last_day
    if span.has_whole_days:
        return format_day(first) if first == last else f"{format_day(first)} to {format_day(last)}"
    return f"{time_text(span.start)} to {time_text(span.end)}"


def time_text(instant: Instant) -> str:
    """Return an instant in words, to the minute."""
    return f"{format_day(day_of(instant))}, {instant[11:16]} UTC"


def programme_title(report: ProgrammeReport) -> str:
    """Return the name of a programme, and its slug behind it."""
    claims = report.facts.programmes.get(report.programme)
    if claims is None or claims.name is None:
        return report.programme
    return f"{claims.name.value} ({report.programme})"


def summary_text(report: ProgrammeReport) -> str:
    """Return the report in a sentence or two."""
    lists: Sequence[tuple[str, int]] = (
        ("achieved", len(report.achieved)),
        ("moved", len(report.moved)),
        ("newly late", len(report.newly_late)),
        ("new", len(report.new) + len(report.new_undated)),
        ("cancelled", len(report.cancelled) + len(report.cancelled_undated)),
        ("retracted", len(report.retracted)),
        ("said late", len(report.said_late)),
    )
    phrases = [f"{number:,} {name}" for name, number in lists if number]
    said = f"{enumerate_phrases(phrases)}." if phrases else "Nothing was said, and nothing became late."
    overdue = format_count(len(report.overdue), "milestone is", "milestones are")
    return f"{said} {overdue} overdue." if report.overdue else said


def programme_sections(report: ProgrammeReport) -> Iterator[Section]:
    """Yield the sections of a programme that are not empty, in the contract's order."""
    overdue = {milestone.status.key: milestone for milestone in report.overdue}
    rows = (*report.achieved, *report.moved, *report.new, *report.cancelled)
    movers = [row for row in rows if row.followers or (row.kind is RowKind.MOVED and not row.is_follower)]
    movers.sort(key=lambda row: row.entry.said)
    late_gates = [gate for gate in report.gates if gate.impact.moved]
    others = len(report.gates) - len(late_gates)
    new: Sequence[ReportRow | MilestoneStatus] = [*report.new, *report.new_undated]
    cancelled: Sequence[ReportRow | MilestoneStatus] = [*report.cancelled, *report.cancelled_undated]
    sections = (
        _section("achieved", "Achieved", report.achieved, _achieved_line),
        _section("moved", "Moved", movers, _moved_line)._replace(total=len(report.moved)),
        _section("newly-late", "Newly late", report.newly_late, lambda status: _late_line(status, overdue)),
        _section("new", "New", new, _new_line),
        _section("cancelled", "Cancelled", cancelled, _cancelled_line),
        _section("retracted", "Retracted", report.retracted, _retraction_line),
        _section("said-late", "Said late", report.said_late, _said_late_line),
        _section("overdue", "Overdue", report.overdue, _overdue_line),
        _section("coming", f"Coming in the next {COMING_DAYS} days", report.coming, _coming_line),
        _section("gates", "Gates that hold others up", late_gates, _gate_line),
    )
    names = names_of(report.facts, report.programme)
    yield from (_with_names(section, names) for section in sections if section.total)
    if others:
        rest = format_count(others, "gate" if not late_gates else "other gate")
        yield Section("gates-on-time", "Gates that hold nobody up", others, [], f"{rest}: what waits comes on time.")


def _with_names(section: Section, names: Names) -> Section:
    """Return a section in which milestones are called by their names, with the slugs behind them."""

    def named(sentence: Sentence) -> Sentence:
        return [part for words in sentence for part in _named(words, names)]

    lines = [Line(line.day, named(line.sentence), list(map(named, line.details))) for line in section.lines]
    return section._replace(lines=lines)


def _named(words: Words, names: Names) -> list[Words]:
    if words.milestone is None:
        return [words]
    label = names.label(MilestoneRef(*words.milestone[1:]))
    if label.is_slugs:
        return [words]
    name = words._replace(text=f"{shortened(label.project)}: {shortened(label.milestone)}")
    return [name, Words(f" ({label.ref})", "slug")]


def further_sections(report: Report) -> list[Section]:
    """Return the sections that belong to no programme alone."""
    silent = _section("silent", "Silent sources", report.silent_sources, _silence_line)
    return [silent] if silent.total else []


def quiet_text(report: Report) -> str:
    """Return the sentence about programmes of which there is nothing to say; empty without any."""
    if not report.quiet_programmes:
        return ""
    others = "other programme" if report.programmes else "programme"
    return f"Of {format_count(report.quiet_programmes, others)} there is nothing to say: {span_text(report.span)}."


def _section(key: str, title: str, items: Sequence[T], line_of: Callable[[T], Line]) -> Section:
    hidden = len(items) - MAX_LINES
    more = f"and {format_count(hidden, 'other')}: the report as JSON has all of them" if hidden > 0 else ""
    return Section(key, title, len(items), [line_of(item) for item in items[:MAX_LINES]], more)


def _name(key: MilestoneKey) -> Words:
    return Words(f"{key.project}/{key.milestone}", "name", key)


def _achieved_line(row: ReportRow) -> Line:
    entry = row.entry
    sentence = [_name(entry.milestone), Words(" was achieved")]
    if entry.own_previous is not None and entry.own_current is not None:
        days = (entry.own_current - entry.own_previous).days
        sentence.append(Words(f", {_deviation(days, 'than said')} before ({format_day(entry.own_previous)})"))
    if entry.slip_days:
        sentence += [Words(", "), _slip(entry.slip_days)]
    details = [_cause_sentence(row.cause)]
    if row.followers:
        details.append([Words(f"It moved {format_count(len(row.followers), 'other')}.")])
    return Line(entry.own_current, sentence, details)


def _deviation(days: int, than: str) -> str:
    if not days:
        return "as was said"
    return f"{days_phrase(abs(days))} {'later' if days > 0 else 'earlier'} {than}"


def _slip(days: int) -> Words:
    side = "after" if days > 0 else "before"
    return Words(f"{days_phrase(abs(days))} {side} its baseline", "late" if days > 0 else "early")


def _moved_line(row: ReportRow) -> Line:
    entry = row.entry
    sentence = [_name(entry.milestone)]
    match row.kind:
        case RowKind.MOVED:
            sentence += _movement(entry)
        case RowKind.ACHIEVED:
            sentence.append(Words(" was achieved, which moved others"))
        case RowKind.CANCELLED:
            sentence.append(Words(" was cancelled, which moved others"))
        case _:
            sentence.append(Words(" is new, which moved others"))
    details = [_cause_sentence(row.cause)]
    details += [[_name(follower.milestone), *_movement(follower)] for follower in row.followers[:MAX_FOLLOWERS]]
    if (hidden := len(row.followers) - MAX_FOLLOWERS) > 0:
        details.append([Words(f"and {format_count(hidden, 'other')} with them")])
    if row.impact.moved:
        details.append([Words(f"{_impact_phrase(row.impact.moved, held_up_phrases(row.impact.held_up))} now.")])
    return Line(day_of(entry.said), sentence, details)


def _movement(entry: HistoryEntry) -> list[Words]:
    """Return how a forecast moved. Of an overdue milestone the day that had passed counts, which no day moves."""
    previous, own = entry.previous, entry.own_previous
    if own is not None and previous == entry.said_on and own < entry.said_on:
        previous = own
    if previous is None or entry.current is None:
        return [Words(f": {_day_or_none(previous)} → {_day_or_none(entry.current)}")]
    days = (entry.current - previous).days
    words = [Words(f": {format_day(previous)} → {format_day(entry.current)}")]
    if days:
        words += [Words(", "), Words(_deviation(days, "").rstrip(), "late" if days > 0 else "early")]
    return words


def _day_or_none(day: date | None) -> str:
    return "no date" if day is None else format_day(day)


def _impact_phrase(moved: int, phrases: Sequence[str]) -> str:
    return f"It holds up {enumerate_phrases([format_count(moved, 'milestone'), *phrases])}"


def _cause_sentence(event: Event) -> list[Words]:
    """Return who said what stands behind a row, when, and why."""
    verbs: dict[type[events.EventData], str] = {
        events.MilestoneCancelled: "Cancelled",
        events.ProjectWithdrawn: "Project withdrawn",
        events.ProjectRegistered: "Project registered",
        events.EventRetracted: "Retracted",
    }
    data = event.data
    verb = verbs.get(type(data), "Said")
    if isinstance(data, (events.DependencyDeclared, events.DependencyWithdrawn)):
        verb = "Said to wait" if isinstance(data, events.DependencyDeclared) else "Said to wait no longer"
        verb += f" for {data.after.project}/{data.after.milestone}"
    sentence = [Words(f"{verb} by "), Words(event.source, "source"), Words(f" on {time_text(event.instant)}")]
    texts = [text for name in ("reason", "remark") if (text := data_field(event, name))]
    if texts:
        sentence += [Words(": "), Words(". ".join(texts), "source")]
    return sentence


def _late_line(status: MilestoneStatus, overdue: dict[MilestoneKey, OverdueMilestone]) -> Line:
    return _overdue_line(overdue[status.key]) if status.key in overdue else _coming_line(status)


def _overdue_line(milestone: OverdueMilestone) -> Line:
    status = milestone.status
    sentence = [_name(status.key), Words(" was due, and nobody reported it as done", "late")]
    if status.slip_days and status.slip_days > 0:
        sentence += [Words(", by now "), _slip(status.slip_days)]
    return Line(milestone.due, sentence, _driver_details(status))


def _coming_line(status: MilestoneStatus) -> Line:
    sentence = [_name(status.key)]
    if status.slip_days:
        sentence += [Words(", "), _slip(status.slip_days)]
    return Line(status.forecast, sentence, _driver_details(status))


def _driver_details(status: MilestoneStatus) -> list[Sentence]:
    if status.driver is None:
        return []
    return [[Words("It waits for "), _name(MilestoneKey(status.programme, *status.driver)), Words(".")]]


def _new_line(row: ReportRow | MilestoneStatus) -> Line:
    if isinstance(row, MilestoneStatus):
        return Line(row.forecast, [_name(row.key), Words(" has no date yet")])
    return Line(row.entry.current, [_name(row.entry.milestone)], [_cause_sentence(row.cause)])


def _cancelled_line(row: ReportRow | MilestoneStatus) -> Line:
    if isinstance(row, MilestoneStatus):
        return Line(None, [_name(row.key), Words(" was cancelled; it had no date")])
    entry = row.entry
    sentence = [_name(entry.milestone), Words(f" was cancelled; it was to come {_day_or_none(entry.previous)}")]
    return Line(day_of(entry.said), sentence, [_cause_sentence(row.cause)])


def _claim_sentence(event: Event) -> list[Words]:
    """Return what an event says."""
    project = Words(event.project, "name")
    match event.data:
        case events.MilestoneReported(milestone=milestone, classifier=classifier, date=day):
            verb = {Classifier.ACTUAL: "achieved on", Classifier.ESTIMATED: "estimated for"}.get(classifier)
            words = f" {verb or 'planned for'} {format_day(day)}"
        case events.MilestoneCancelled(milestone=milestone):
            words = " cancelled"
        case events.DependencyDeclared(milestone=milestone, after=after):
            words = f" waits for {after.project}/{after.milestone}"
        case events.DependencyWithdrawn(milestone=milestone, after=after):
            words = f" no longer waits for {after.project}/{after.milestone}"
        case events.ProjectWithdrawn():
            return [Words("project "), project, Words(" withdrawn")]
        case events.ProjectRegistered():
            return [Words("project "), project, Words(" registered")]
        case events.EventRetracted(retracts=event_id):
            return [Words("event "), Words(event_id, "source"), Words(" retracted")]
        case _:
            return [Words("programme registered")]
    return [_name(MilestoneKey(event.programme, event.project, milestone)), Words(words)]


def _retraction_line(retraction: Retraction) -> Line:
    event, retracted = retraction.event, retraction.retracted
    sentence = _claim_sentence(event if retracted is None else retracted)
    return Line(day_of(event.instant), sentence, [_cause_sentence(event), *_movements(retraction.rows)])


def _said_late_line(late: LateEvent) -> Line:
    arrived: Sentence = [Words(f"It arrived on {time_text(late.arrived)}.")]
    moved = _movements(late.rows) or [[Words("It moved no forecast.")]]
    return Line(day_of(late.event.instant), _claim_sentence(late.event), [_cause_sentence(late.event), arrived, *moved])


def _movements(rows: Sequence[HistoryEntry]) -> list[Sentence]:
    sentences: list[Sentence] = [[_name(row.milestone), *_movement(row)] for row in rows[:MAX_FOLLOWERS]]
    if (hidden := len(rows) - MAX_FOLLOWERS) > 0:
        sentences.append([Words(f"and {format_count(hidden, 'other')} with them")])
    return sentences


def _gate_line(gate: GateImpact) -> Line:
    status = gate.status
    sentence = [_name(status.key)]
    if status.state is State.ACHIEVED:
        sentence.append(Words(" was achieved"))
    if status.slip_days:
        sentence += [Words(", "), _slip(status.slip_days)]
    impact = _impact_phrase(gate.impact.moved, held_up_phrases(gate.impact.held_up))
    return Line(status.forecast, sentence, [[Words(f"{impact}.")], *_driver_details(status)])


def _silence_line(silent: SilentSource) -> Line:
    last = instant_from_epoch_ms(round(silent.last * 1000))
    words = (
        f" has said nothing since {time_text(last)}, for {format_duration(silent.silence_seconds)};"
        f" its longest silence in two weeks was {format_duration(silent.rhythm_seconds)}"
    )
    return Line(day_of(last), [Words(silent.source, "source"), Words(words)])
