"""A report as one HTML file: it stands alone, for mail and print."""

from models.domain.claims import MilestoneKey
from models.views.report import Report
from models.views.report_lines import (
    further_sections,
    programme_sections,
    programme_title,
    quiet_text,
    span_text,
    summary_text,
)
from streams.web.templating import create_environment
from streams.web.urls import PageUrls


def render_report_file(report: Report, board_url: str | None) -> str:
    """Return a report as HTML; its milestones link to the board, if its address is known."""
    urls = PageUrls()

    def link(key: MilestoneKey) -> str:
        return f"{(board_url or '').rstrip('/')}{urls.milestone_url(key.programme, key)}"

    titles = [programme_title(programme) for programme in report.programmes]
    return (
        create_environment({})
        .get_template("report_file.html")
        .render(
            span=span_text(report.span),
            title=titles[0] if len(titles) == 1 else "Milepost report",
            programmes=[
                {"title": title, "summary": summary_text(programme), "sections": list(programme_sections(programme))}
                for title, programme in zip(titles, report.programmes, strict=True)
            ],
            further=further_sections(report),
            quiet=quiet_text(report),
            link=None if board_url is None else link,
        )
    )
