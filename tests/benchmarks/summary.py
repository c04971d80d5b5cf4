"""The main figures for users: tables of docs/performance.md and others, from the tables of docs/benchmarks.md."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

#: Where docs/benchmarks.md lacks a figure.
_NOT_MEASURED: Final = "not measured"
_SECTION: Final = re.compile(r"<!-- (?P<name>[a-z-]+): begin -->\n(?P<text>.*?)<!-- (?P=name): end -->", re.DOTALL)
_P99_IN_NAME: Final = re.compile(r" \(p99 ([^)]+)\)$")
#: Of a table of docs/benchmarks.md.
_COLUMNS: Final = 6


class MeasuredRow(NamedTuple):
    """A row of a table of docs/benchmarks.md, as it is written there; the targets and what became of each."""

    median: str
    least: str
    most: str
    p99: str
    targets: Sequence[str]
    verdicts: Sequence[str]


class _Row(NamedTuple):
    """A row of a table for users: what a user calls it, and which rows of which tables its cells show."""

    label: str
    table: str
    cells: Sequence[str]
    #: Tables of further cells, which show the first row.
    more_tables: Sequence[str] = ()


def _flow(programmes: int, rate: str) -> _Row:
    title = f"{programmes} programme{'s' * (programmes > 1)} of 100 milestones, {rate} events/s"
    cells = [f"{title}: {what}" for what in ("committed", "every event", "cores busy, of the worker")]
    return _Row(title, "latency-small", cells)


#: By table: its columns (what no cell is left for says that the figures stand in docs/performance.md), and its rows.
_TABLES: Final[Mapping[str, tuple[Sequence[str], Sequence[_Row]]]] = {
    "recording": (
        ("", "events/s", "memory"),
        [
            _Row(label, "ingest", [f"{name}: events/s", f"{name}: resident"])
            for label, name in (
                ("recording", "Milepost, recording"),
                ("recording, two workers", "Milepost, recording, 2 workers"),
                ("recording, forecasts and series", "Milepost, all of it"),
                ("recording, forecasts and series, two workers", "Milepost, all of it, 2 workers"),
                ("recording into SQLite", "SQLite, Milepost, recording"),
            )
        ],
    ),
    "ratios": (
        ("compared with", "ratio of events/s"),
        [
            _Row(label, "ingest", [name])
            for label, name in (
                (
                    "stock Faust, a transaction an event",
                    "Milepost, recording, times stock Faust, a transaction an event",
                ),
                ("FastStream, batches", "Milepost, recording, times FastStream, batches"),
                (
                    "a hand-written loop: confluent-kafka, `COPY` and a merge",
                    "Milepost, recording, times loop by hand, COPY",
                ),
                (
                    "two workers, with two such loops",
                    "Milepost, recording, 2 workers, times loop by hand, COPY, 2 processes",
                ),
                (
                    "two workers, with Apache Flink SQL, warm, parallelism 2",
                    "Milepost, recording, 2 workers, times Apache Flink SQL, warm",
                ),
                (
                    "the same, ratio of memory",
                    "Milepost, recording, 2 workers: resident, times Apache Flink SQL, warm",
                ),
                ("into SQLite, with a plain loop", "SQLite, Milepost, recording, times plain loop by hand"),
            )
        ],
    ),
    "flow": (
        ("flow", "committed", "on `/metrics/milestones`", "cores of the worker"),
        [_flow(20, "100"), _flow(1, "500"), _flow(20, "500"), _flow(20, "1,000")],
    ),
    "flow-large": (
        ("", "on `/metrics/milestones`"),
        [
            _Row(
                "one event alone, a programme of 10,000 milestones",
                "latency-large",
                ["10,000 milestones, an event alone: every event"],
            ),
            _Row("an event that moves nearly all of them", "latency-large", ["an event that moves nearly all"]),
        ],
    ),
    "sizes": (
        ("", "median (least, most)"),
        [
            *(
                _Row(f"{count}, {text}", "schedule", [f"{count}, {shape}: {kind}"])
                for count in (
                    "10,000 milestones, 20,000 dependencies",
                    "100,000 milestones, 200,000 dependencies",
                )
                for text, shape, kind in (
                    ("calculated from nothing", "realistic", "from nothing"),
                    ("again after one event", "realistic", "again, a date changed"),
                    ("from nothing, any milestone may wait for any other", "scattered", "from nothing"),
                )
            ),
            _Row(
                "`/metrics/milestones` of 10,000 milestones, put together",
                "pages",
                ["10,000 milestones: put together the first time"],
            ),
            _Row(
                "the same by prometheus_client's encoder",
                "pages",
                ["10,000 milestones: by prometheus_client's encoder"],
            ),
            _Row("a scrape of 10,000 milestones of a running worker", "scrape", ["a scrape of 10,000 milestones"]),
            _Row(
                "first paint of a board page of 1,000 milestones",
                "board",
                ["first paint of 1,000 milestones, read and rendered for it"],
            ),
            _Row(
                "`milepost status --json` of 100,000 milestones, start included",
                "reading",
                ["100,000 milestones: `milepost status --json`, start included"],
            ),
            _Row(
                "the gateway, single events on 32 connections: requests/s",
                "gateway",
                ["single events, 32 connections: requests/s"],
            ),
            _Row("the gateway, batches of 100: events/s", "gateway", ["batches of 100: events/s"]),
        ],
    ),
    "growth": (
        ("", "with forecasts and series of 80,000 milestones", "recording only"),
        [
            _Row(label, "growth", [name], ["growth-recording"])
            for label, name in (
                ("an event, with an empty ledger", "an event, with 0 to 10,000 in the ledger"),
                ("an event, with a million in the ledger", "an event, with 500,000 to 1,000,000 in the ledger"),
                ("an event, with five million in the ledger", "an event, with 4,000,000 to 5,000,000 in the ledger"),
                ("memory of the worker, at most", "a worker's memory, at most"),
                (
                    "after an hour away, caught up with 1,000 events/s that continue",
                    "caught up after an hour away at 1,000 events/s that go on",
                ),
            )
        ],
    ),
    "sizing": (
        ("what", "measured", "from"),
        [
            _Row(
                "events a second that one worker records, forecasts and shows",
                "ingest",
                ["Milepost, all of it: events/s"],
            ),
            _Row("two workers on the same two cores", "ingest", ["Milepost, all of it, 2 workers: events/s"]),
            _Row("one worker into SQLite, recording alone", "ingest", ["SQLite, Milepost, recording: events/s"]),
            _Row("memory of a worker that records", "ingest", ["Milepost, recording: resident"]),
            _Row("memory of a worker that forecasts under a backlog", "ingest", ["Milepost, all of it: resident"]),
            _Row("memory of a worker that shows 80,000 milestones, at most", "growth", ["a worker's memory, at most"]),
            _Row(
                "after an hour away, one worker caught up with 1,000 events a second that continue",
                "growth",
                ["caught up after an hour away at 1,000 events/s that go on"],
            ),
            *(
                _Row(f"{count} milestones in one programme, {text}", "schedule", [f"{title}, realistic: {kind}"])
                for count, title in (
                    ("10,000", "10,000 milestones, 20,000 dependencies"),
                    ("100,000", "100,000 milestones, 200,000 dependencies"),
                )
                for text, kind in (
                    ("calculated from nothing", "from nothing"),
                    ("after a change", "again, a date changed"),
                )
            ),
        ],
    ),
}


def read_measured(document: str) -> dict[str, dict[str, MeasuredRow]]:
    """Return the rows of the tables of docs/benchmarks.md, by table and by what they are of."""
    tables: dict[str, dict[str, MeasuredRow]] = {}
    for section in _SECTION.finditer(document):
        rows = tables[section["name"]] = {}
        for line in section["text"].splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("| ") or len(cells) != _COLUMNS or cells[0] == "what":
                continue
            what, median, least, most, targets, verdicts = cells
            p99 = _P99_IN_NAME.search(what)
            rows[_P99_IN_NAME.sub("", what)] = MeasuredRow(
                *(median, least, most, p99[1] if p99 else ""),
                *([part for part in text.split("<br>") if part] for text in (targets, verdicts)),
            )
    return tables


def updated_summary(summary: str, document: str) -> str:
    """Return a page for users with the figures that docs/benchmarks.md has."""
    measured = read_measured(document)

    def table(section: re.Match[str]) -> str:
        name = section["name"]
        if name not in _TABLES and name != "missed":
            return section[0]
        lines = _missed_targets(measured) if name == "missed" else _table_lines(name, measured)
        return "\n".join((f"<!-- {name}: begin -->", *lines, f"<!-- {name}: end -->"))

    return _SECTION.sub(table, summary)


def _table_lines(name: str, measured: Mapping[str, Mapping[str, MeasuredRow]]) -> list[str]:
    columns, rows = _TABLES[name]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    for row in rows:
        cells = [_cell(measured.get(row.table, {}).get(cell)) for cell in row.cells]
        cells += [_cell(measured.get(table, {}).get(row.cells[0])) for table in row.more_tables]
        cells += ["[performance](performance.md)"] * (len(columns) - 1 - len(cells))
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    return lines


def _cell(row: MeasuredRow | None) -> str:
    if row is None:
        return _NOT_MEASURED
    spread = "" if row.least == row.most else f" ({row.least} to {row.most})"
    return f"{row.median}{spread}{f', p99 {row.p99}' if row.p99 else ''}"


def _missed_targets(measured: Mapping[str, Mapping[str, MeasuredRow]]) -> list[str]:
    lines = ["| missed | target | median |", "|---|---|---:|"]
    for rows in measured.values():
        for what, row in rows.items():
            missed = [
                target for target, verdict in zip(row.targets, row.verdicts, strict=True) if verdict == "**missed**"
            ]
            if missed:
                lines.append(f"| {what} | {', '.join(missed)} | {_cell(row)} |")
    return lines
