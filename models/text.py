"""Text that nobody vouches for, made harmless: on one line, and without what steers a terminal."""


def one_line(value: object, max_length: int = 300) -> str:
    """Return what something says as one line of so many characters at most, for logs and details."""
    return " ".join(str(value).split())[:max_length]


def printable(text: str, *, keep_line_breaks: bool = False) -> str:
    """Return text in which nothing can steer a terminal: what is not printable is spelled out.

    That takes in escape sequences as well as marks that turn the direction of writing. With `lines`, line breaks and
    tabs stay.
    """
    kept = "\n\t" if keep_line_breaks else ""
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )
