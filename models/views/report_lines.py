"""A report in sentences: what text, Markdown and HTML all say, each in its own form."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple, TypeVar

from models.domain.claims import MilestoneKey
from models.domain.report import (
    COMING_DAYS,
    GateImpact,
    LateEvent,
    OverdueMilestone,
    ProgrammeReport,
    ReportRow,
    Retraction,
    RowKind,
)
from models.domain.report_span import Span
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.silent_sources import SilentSource
from models.domain.timestamps import day_of, instant_from_epoch_ms
from models.views.formatting import (
    enumerate_phrases,
    format_count,
    format_day,
    format_duration,
    format_instant,
    held_up_phrases,
)
from models.views.names import Names, names_of, shortened
from models.views.report import Report
from models.views.report_sentences import (
    Sentence,
    Words,
    cause_sentence,
    claim_sentence,
    day_or_none,
    deviation_text,
    movement_sentences,
    movement_words,
    name_words,
    slip_words,
)

#: How many lines of a section are written.
MAX_LINES: Final = 50

T = TypeVar("T")


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
    return f"{format_instant(span.start)} to {format_instant(span.end)}"


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


def _achieved_line(row: ReportRow) -> Line:
    entry = row.entry
    sentence = [name_words(entry.milestone), Words(" was achieved")]
    if entry.own_previous is not None and entry.own_current is not None:
        days = (entry.own_current - entry.own_previous).days
        sentence.append(Words(f", {deviation_text(days, 'than said')} before ({format_day(entry.own_previous)})"))
    if entry.slip_days:
        sentence += [Words(", "), slip_words(entry.slip_days)]
    details = [cause_sentence(row.cause)]
    if row.followers:
        details.append([Words(f"It moved {format_count(len(row.followers), 'other')}.")])
    return Line(entry.own_current, sentence, details)


def _moved_line(row: ReportRow) -> Line:
    entry = row.entry
    sentence = [name_words(entry.milestone)]
    match row.kind:
        case RowKind.MOVED:
            sentence += movement_words(entry)
        case RowKind.ACHIEVED:
            sentence.append(Words(" was achieved, which moved others"))
        case RowKind.CANCELLED:
            sentence.append(Words(" was cancelled, which moved others"))
        case _:
            sentence.append(Words(" is new, which moved others"))
    details: list[Sentence] = [cause_sentence(row.cause)]
    details += movement_sentences(row.followers)
    if row.impact.moved:
        details.append([Words(f"{_impact_phrase(row.impact.moved, held_up_phrases(row.impact.held_up))} now.")])
    return Line(day_of(entry.said), sentence, details)


def _impact_phrase(moved: int, phrases: Sequence[str]) -> str:
    return f"It holds up {enumerate_phrases([format_count(moved, 'milestone'), *phrases])}"


def _late_line(status: MilestoneStatus, overdue: dict[MilestoneKey, OverdueMilestone]) -> Line:
    return _overdue_line(overdue[status.key]) if status.key in overdue else _coming_line(status)


def _overdue_line(milestone: OverdueMilestone) -> Line:
    status = milestone.status
    sentence = [name_words(status.key), Words(" was due, and nobody reported it as done", "late")]
    if status.slip_days and status.slip_days > 0:
        sentence += [Words(", by now "), slip_words(status.slip_days)]
    return Line(milestone.due, sentence, _driver_details(status))


def _coming_line(status: MilestoneStatus) -> Line:
    sentence = [name_words(status.key)]
    if status.slip_days:
        sentence += [Words(", "), slip_words(status.slip_days)]
    return Line(status.forecast, sentence, _driver_details(status))


def _driver_details(status: MilestoneStatus) -> list[Sentence]:
    if status.driver is None:
        return []
    return [[Words("It waits for "), name_words(MilestoneKey(status.programme, *status.driver)), Words(".")]]


def _new_line(row: ReportRow | MilestoneStatus) -> Line:
    if isinstance(row, MilestoneStatus):
        return Line(row.forecast, [name_words(row.key), Words(" has no date yet")])
    return Line(row.entry.current, [name_words(row.entry.milestone)], [cause_sentence(row.cause)])


def _cancelled_line(row: ReportRow | MilestoneStatus) -> Line:
    if isinstance(row, MilestoneStatus):
        return Line(None, [name_words(row.key), Words(" was cancelled; it had no date")])
    entry = row.entry
    sentence = [name_words(entry.milestone), Words(f" was cancelled; it was to come {day_or_none(entry.previous)}")]
    return Line(day_of(entry.said), sentence, [cause_sentence(row.cause)])


def _retraction_line(retraction: Retraction) -> Line:
    event, retracted = retraction.event, retraction.retracted
    sentence = claim_sentence(event if retracted is None else retracted)
    return Line(day_of(event.instant), sentence, [cause_sentence(event), *movement_sentences(retraction.rows)])


def _said_late_line(late: LateEvent) -> Line:
    arrived: Sentence = [Words(f"It arrived on {format_instant(late.arrived)}.")]
    moved = movement_sentences(late.rows) or [[Words("It moved no forecast.")]]
    return Line(day_of(late.event.instant), claim_sentence(late.event), [cause_sentence(late.event), arrived, *moved])


def _gate_line(gate: GateImpact) -> Line:
    status = gate.status
    sentence = [name_words(status.key)]
    if status.state is State.ACHIEVED:
        sentence.append(Words(" was achieved"))
    if status.slip_days:
        sentence += [Words(", "), slip_words(status.slip_days)]
    impact = _impact_phrase(gate.impact.moved, held_up_phrases(gate.impact.held_up))
    return Line(status.forecast, sentence, [[Words(f"{impact}.")], *_driver_details(status)])


def _silence_line(silent: SilentSource) -> Line:
    last = instant_from_epoch_ms(round(silent.last * 1000))
    words = (
        f" has said nothing since {format_instant(last)}, for {format_duration(silent.silence_seconds)};"
        f" its longest silence in two weeks was {format_duration(silent.rhythm_seconds)}"
    )
    return Line(day_of(last), [Words(silent.source, "source"), Words(words)])
