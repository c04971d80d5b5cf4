"""What pages load is what it is said to be."""

import re
from hashlib import sha256
from importlib.resources import files

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
        assert not re.search(r"<style|\sstyle=|\son\w+=", text), template
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), template
