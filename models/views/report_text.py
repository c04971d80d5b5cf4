"""A report as plain text and as Markdown.

Most of the words come from other parties. Plain text has nothing unprintable. In Markdown whatever could mean something
is escaped: no name is a heading, a link, an image or a tag.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from models.text import printable
from models.views.formatting import format_day
from models.views.report import Report
from models.views.report_lines import (
    Line,
    Section,
    further_sections,
    programme_sections,
    programme_title,
    quiet_text,
    span_text,
    summary_text,
)
from models.views.report_sentences import Sentence, Words

#: What could be emphasis, code, a link or an address, a heading, a table, a formula or an emoji.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>#|~$&@!]|:(?=\S)")
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_DAY_WIDTH: Final = 11


def escape_markdown(text: str) -> str:
    """Return text on one line in which nothing is markup, for any place in a line but its beginning."""
    return _MARKUP.sub(_escape, printable(text))


def _escape(character: re.Match[str]) -> str:
    # The characters of HTML are entities, for what reads Markdown as HTML.
    return _ENTITIES.get(character[0]) or f"\\{character[0]}"


def report_to_text(report: Report) -> Iterator[str]:
    """Yield the lines of a report as plain text."""
    for number, programme in enumerate(report.programmes):
        if number:
            yield ""
        yield f"{printable(programme_title(programme))}: {span_text(report.span)}"
        yield summary_text(programme)
        for section in programme_sections(programme):
            yield from _text_section(section)
    yield from _rest(report, _text_section)


def _text_section(section: Section) -> Iterator[str]:
    yield ""
    yield f"{section.title} ({section.total:,})"
    for line in section.lines:
        day = "" if line.day is None else format_day(line.day)
        yield f"  {day:>{_DAY_WIDTH}}  {_plain(line.sentence)}"
        yield from (f"  {'':{_DAY_WIDTH}}    {_plain(detail)}" for detail in line.details)
    if section.more:
        yield f"  {'':{_DAY_WIDTH}}  {section.more}"


def _plain(sentence: Sentence) -> str:
    return printable("".join(words.text for words in sentence))


def report_to_markdown(report: Report) -> Iterator[str]:
    """Yield the lines of a report as Markdown."""
    for programme in report.programmes:
        yield f"# {escape_markdown(programme_title(programme))}: {span_text(report.span)}"
        yield ""
        yield summary_text(programme)
        for section in programme_sections(programme):
            yield from _markdown_section(section)
        yield ""
    yield from _rest(report, _markdown_section)


def _markdown_section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## {section.title} ({section.total:,})"
    yield ""
    for line in section.lines:
        yield f"- {_markdown_line(line)}"
        yield from (f"  - {_marked_up(detail)}" for detail in line.details)
    if section.more:
        yield f"- {section.more}" if section.lines else section.more


def _markdown_line(line: Line) -> str:
    day = "" if line.day is None else f"{format_day(line.day)}: "
    return f"{day}{_marked_up(line.sentence)}"


def _marked_up(sentence: Sentence) -> str:
    return "".join(map(_mark_up, sentence))


def _mark_up(words: Words) -> str:
    text = escape_markdown(words.text)
    return f"**{text}**" if words.style == "name" else text


def _rest(report: Report, section_lines: Callable[[Section], Iterator[str]]) -> Iterator[str]:
    for section in further_sections(report):
        yield from section_lines(section)
    if quiet := quiet_text(report):
        yield ""
        yield quiet
