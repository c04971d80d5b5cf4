"""Text that nobody vouches for, made harmless: on one line, and without what steers a terminal."""


def one_line(said: object, most: int = 300) -> str:
    """Return what something says as one line of so many characters at most, for logs and details."""
    return " ".join(str(said).split())[:most]


def printable(text: str, *, lines: bool = False) -> str:
    """Return text in which nothing can steer a terminal: what is not printable is spelled out.

    That takes in escape sequences as well as marks that turn the direction of writing. With `lines`, line breaks and
    tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )
