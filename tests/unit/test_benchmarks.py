"""What benchmarks write: the document has a place for each of them, and a plot is a picture."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, LONG_BENCHMARKS, benchmarks_to_run, main
from tests.benchmarks.document import DOCUMENT, SUMMARIES, write_document
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.ingest import Throughput, neighbours
from tests.benchmarks.options import RunOptions
from tests.benchmarks.plot import bar_chart_svg
from tests.benchmarks.summary import updated_summary


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_document_has_one_place_for_each_benchmark(name: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert (text.count(f"<!-- {name}: begin -->"), text.count(f"<!-- {name}: end -->")) == (1, 1)


def test_without_names_all_run_but_the_long_ones() -> None:
    assert {*benchmarks_to_run([])} == BENCHMARKS.keys() - LONG_BENCHMARKS
    assert benchmarks_to_run(["growth"]) == ["growth"]


def test_a_benchmark_that_fails_costs_no_other_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []

    def fail(*_: object) -> Iterator[Figure]:
        raise AssertionError("too late")

    def measure(*_: object) -> Iterator[Figure]:
        yield Figure("events/s", "number", [1.0])

    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.setattr("tests.benchmarks.__main__.BENCHMARKS", {"broken": fail, "sound": measure})
    monkeypatch.setattr("tests.benchmarks.__main__.write_document", lambda results, *_: written.extend(results))
    monkeypatch.setattr("sys.argv", ["benchmarks", "--write"])
    assert main() == 1
    assert written == ["sound"]
    progress = capsys.readouterr().err
    assert "table 2 of 2, 0.0 min so far: sound" in progress
    assert 'make bench BENCH="broken --write"' in progress


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


@pytest.mark.parametrize("page", SUMMARIES, ids=lambda page: page.stem)
def test_the_figures_of_a_page_for_users_are_those_of_the_tables(page: Path) -> None:
    summary = page.read_text(encoding="utf-8")
    assert updated_summary(summary, DOCUMENT.read_text(encoding="utf-8")) == summary


def test_the_performance_page_follows_what_is_measured(tmp_path: Path) -> None:
    document, summary = tmp_path / DOCUMENT.name, tmp_path / SUMMARIES[0].name
    document.write_text("<!-- ingest: begin -->\n<!-- ingest: end -->\n", encoding="utf-8")
    places = "".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n" for name in ("ratios", "missed"))
    summary.write_text(f"# Fast\n\n{places}", encoding="utf-8")
    ratio = Figure("Milepost, recording, times FastStream, batches", "ratio", [1.5, 1.4, 1.7])
    figures = [replace(ratio, targets=[Target("median", 1.8, "least")]), Figure("ours: events/s", "number", [1.0])]
    write_document({"ingest": figures}, RunOptions(), {}, document)
    text = summary.read_text(encoding="utf-8")
    assert "| FastStream, batches | 1.50 (1.40 to 1.70) |" in text
    assert "| stock Faust, a transaction an event | not measured |" in text
    assert f"| {ratio.name} | median ≥ 1.80 | 1.50 (1.40 to 1.70) |" in text


def test_a_ratio_is_of_runs_that_are_near_each_other() -> None:
    ours = [Throughput(number, 0) for number in (1.0, 2.0, 3.0)]
    peers = [Throughput(number, 0) for number in (10.0, 20.0)]
    order = [("peer", peers[0]), ("ours", ours[0]), ("ours", ours[1]), ("peer", peers[1]), ("other", peers[0])]
    assert neighbours([*order, ("ours", ours[2])], "ours", "peer") == [(ours[0], peers[0]), (ours[1], peers[1])]


def test_a_plot_has_a_bar_for_each_figure_as_long_as_its_median() -> None:
    drawn = bar_chart_svg("a < b", {"one & only": Figure("", "number", [100.0]), "other": Figure("", "number", [50.0])})
    picture = ET.fromstring(drawn)  # noqa: S314 - our own
    widths = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
