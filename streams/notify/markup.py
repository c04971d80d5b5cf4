"""Makes harmless what other parties wrote: no name of a project calls everybody in a channel, or is a heading.

Apprise converts plain text to what most services take (HTML for Telegram, entities for Slack, escapes for Teams and
Rocket.Chat). It does nothing about mentions, and hands on plain text to services that read it as Markdown.
"""

import re
from typing import Final

#: After this character a mention is no mention. People do not see it.
_BREAK: Final = "\N{ZERO WIDTH SPACE}"
#: Services that read `@name` in plain text as a mention.
_WITH_MENTIONS: Final = frozenset({"slack", "msteams", "workflows", "tgram", "matrix", "mmost", "rocket", "discord"})
#: Those that read plain text as Markdown, where Apprise escapes nothing.
_WITH_MARKDOWN: Final = frozenset({"mmost", "discord"})
_MARKDOWN: Final = re.compile(r"[\\`*_{}\[\]()<>#|~]|^(?=[-+] |\d+\.)")


def make_harmless(text: str, scheme: str) -> str:
    """Return a line of a message in which nothing is a mention or markup for the service of a scheme."""
    service = scheme if scheme in _WITH_MENTIONS else scheme.removesuffix("s")
    if service not in _WITH_MENTIONS:
        return text
    if service in _WITH_MARKDOWN:
        text = _MARKDOWN.sub(lambda match: f"\\{match[0]}", text)
    return text.replace("@", f"@{_BREAK}").replace("://", f":{_BREAK}//")
