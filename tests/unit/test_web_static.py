"""Static files: the vendored copies, what templates reference, and how files are served."""

import gzip
import re
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from importlib.resources import files

import pytest

from tests.helpers.board import BoardServer, running_board

STATIC = files("streams.web") / "static"
VENDORED = (STATIC / "VENDORED.md").read_text(encoding="utf-8")


def test_echarts_is_the_copy_that_is_named() -> None:
    [digest] = re.findall(r"`echarts\.simple\.min\.js` .* `([0-9a-f]{64})`", VENDORED)

    assert sha256((STATIC / "echarts.simple.min.js").read_bytes()).hexdigest() == digest


def test_echarts_comes_with_its_licence_and_notice() -> None:
    assert "Apache License" in (STATIC / "echarts.LICENSE").read_text(encoding="utf-8")
    assert "Apache ECharts" in (STATIC / "echarts.NOTICE").read_text(encoding="utf-8")
    assert "Mike Bostock" in (STATIC / "echarts.LICENSE-d3").read_text(encoding="utf-8")


def test_no_page_holds_a_script_a_style_or_an_address_from_elsewhere() -> None:
    for template in (files("streams.web") / "templates").iterdir():
        text = template.read_text(encoding="utf-8")

        assert not re.search(r"<script(?![^>]*\bsrc=)", text), template
        # The one that is no page of the board stands alone, so its style is in it.
        is_page = template.name != "report_file.html"
        assert not re.search(r"\sstyle=|\son\w+=" + ("|<style" if is_page else ""), text), template
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), template


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('board')}/milepost.db"
    with running_board(url, date(2026, 11, 23)) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/nowhere", "/pipeline"])
def test_every_file_that_a_page_references_is_versioned_immutable_and_compressed(board: BoardServer, path: str) -> None:
    urls = re.findall(r'(?:src|href)="(/static/[^"]+)"', board.get(path).text)

    assert {url.partition("?")[0] for url in urls} >= {"/static/board.css", "/static/board.js", "/static/board.svg"}
    for url in urls:
        assert "?v=" in url
        file, compressed = board.get(url), board.get(url, Accept_Encoding="gzip")
        assert file.status == 200
        assert "immutable" in file.headers["Cache-Control"]
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert compressed.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(compressed.body) == file.body == (STATIC / url[8:].partition("?")[0]).read_bytes()


def test_every_file_that_a_template_names_exists() -> None:
    for template in (files("streams.web") / "templates").iterdir():
        for name in re.findall(r'static_url\("([^"]+)"\)', template.read_text(encoding="utf-8")):
            assert (STATIC / name).is_file(), (template, name)


@pytest.mark.parametrize("query", ["", "?v=of-another-release"])
def test_another_version_of_a_file_is_not_cached_as_this_one(board: BoardServer, query: str) -> None:
    assert board.get(f"/static/board.js{query}").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(("name", "kind"), [("board.js", "text/javascript"), ("board.css", "text/css")])
def test_a_file_has_the_type_that_browsers_insist_on(board: BoardServer, name: str, kind: str) -> None:
    assert board.get(f"/static/{name}").headers["Content-Type"] == kind
