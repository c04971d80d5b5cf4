"""Text from outside on pages: it is shown whole, does no harm, and lines break between its parts."""

from streams.web.templating import source_markup


def test_a_line_breaks_between_the_parts_of_a_source_and_not_within_a_word() -> None:
    assert source_markup("//office.permits.example/north/1") == (
        "<bdi>//office.<wbr>permits.<wbr>example/<wbr>north/<wbr>1</bdi>"
    )


def test_a_source_is_text_whatever_it_holds() -> None:
    assert source_markup("//<wbr>.b/\x1b&") == "<bdi>//&lt;wbr&gt;.<wbr>b/<wbr>\\x1b&amp;</bdi>"
    assert source_markup(None) == ""
    assert source_markup("") == "<bdi></bdi>"
