"""Text of others on one line: nothing in it can forge a line or steer a terminal."""

from models.text import one_line


def test_one_line_has_neither_line_breaks_nor_control_characters() -> None:
    assert one_line("a\n  b\x1b[31m\r\u202ec\x00") == r"a b\x1b[31m \u202ec\x00"


def test_one_line_is_no_longer_than_asked_even_where_characters_are_escaped() -> None:
    assert one_line("\x1b" * 300) == r"\x1b" * 75
    assert one_line("x" * 100, 10) == "x" * 10
