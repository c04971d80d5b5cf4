"""Writes docs/runbook.md as the page `/runbook`: `python -m deploy.runbook_html`.

It needs markdown-it-py, a dependency of development. The distribution holds the page, and not this module.
"""

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

_CHECKOUT: Final = Path(__file__).parents[1]
RUNBOOK_FILE: Final = _CHECKOUT / "docs" / "runbook.md"
PAGE_FILE: Final = _CHECKOUT / "streams" / "web" / "templates" / "runbook_text.html"


def anchor(heading: str) -> str:
    """Return the fragment that leads to a heading, as repositories' web pages make it."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def render_runbook(text: str) -> str:
    """Return the page's content, without the title. Every heading is an anchor, and links to itself."""
    # Markup in the text is shown, not taken over.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text.partition("\n")[2])
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inline.content))
    html = markdown.renderer.render(tokens, markdown.options, {})
    html = re.sub(r'<(h\d) id="([^"]+)">(.*?)</\1>', r'<\1 id="\2"><a href="#\2">\3</a></\1>', html)
    return f"{{% raw %}}\n{html}{{% endraw %}}\n"


def main() -> int:
    """Write the page; return the exit status."""
    PAGE_FILE.write_text(render_runbook(RUNBOOK_FILE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
