"""What benchmarks write: the document has a place for each of them, and a plot is a picture."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.document import DOCUMENT, write_document
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.options import RunOptions
from tests.benchmarks.plot import bar_chart_svg


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_document_has_one_place_for_each_benchmark(name: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert (text.count(f"<!-- {name}: begin -->"), text.count(f"<!-- {name}: end -->")) == (1, 1)


def test_what_is_measured_again_takes_the_place_of_what_was(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("# Fast\n\n<!-- ingest: begin -->\nold\n<!-- ingest: end -->\n\nThe end.\n", encoding="utf-8")
    targets = [Target("median", 1.5, "least")]
    figures = [Figure("ours: events/s", "number", [1000.0, 3000.0, 2000.0]), Figure("ratio", "ratio", [1.25], targets)]
    for _ in range(2):
        write_document({"ingest": figures}, RunOptions(runs=3), {"cores": "2"}, document)
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    assert "| ours: events/s | 2,000 | 1,000 | 3,000 |  |  |" in text
    assert "| ratio | 1.25 | 1.25 | 1.25 | median ≥ 1.50 | **missed** |" in text
    assert text.startswith("# Fast\n\n<!-- ingest: begin -->\n3 runs; cores 2.\n")
    assert text.endswith("<!-- ingest: end -->\n\nThe end.\n")
    assert (tmp_path / "benchmarks-ingest.svg").exists()


def test_a_benchmark_without_a_place_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("# Fast\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for record"):
        write_document({"record": []}, RunOptions(), {}, document)


def test_a_plot_has_a_bar_for_each_figure_as_long_as_its_median() -> None:
    drawn = bar_chart_svg("a < b", {"one & only": Figure("", "number", [100.0]), "other": Figure("", "number", [50.0])})
    picture = ET.fromstring(drawn)  # noqa: S314 - our own
    widths = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
