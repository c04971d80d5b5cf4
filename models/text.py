"""Makes untrusted text safe to print: on one line, and without terminal control sequences."""


def one_line(value: object, max_length: int = 300) -> str:
    """Return the text of a value on one line, everything unprintable escaped, cut to a length: for logs and details."""
    return printable(" ".join(str(value).split()))[:max_length]


def printable(text: str, *, keep_line_breaks: bool = False) -> str:
    """Return text, everything unprintable escaped, marks of writing direction too; line breaks and tabs on request."""
    if text.isprintable():
        # Nearly always; to look at each character takes twenty times as long.
        return text
    allowed = "\n\t" if keep_line_breaks else ""
    return "".join(
        character if character.isprintable() or character in allowed else ascii(character)[1:-1] for character in text
    )
