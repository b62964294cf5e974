"""The pages hold together: links lead somewhere, the two languages say the same, short is short."""

from __future__ import annotations

import re
import tomllib

import pytest

from helpers.pages import PAGES, ROOT, anchor, blocks, headings, links, name_of

ARCHITECTURE_LINES = 130
ELSEWHERE = ("http://", "https://")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page):
    broken = [
        link
        for link in links(page)
        if not link.startswith(ELSEWHERE) and not leads_somewhere(page, link)
    ]

    assert not broken


def leads_somewhere(page, link):
    path, _, name = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not name or name in {anchor(text) for _, text in headings(target)})


def test_every_document_can_be_reached_from_the_read_me():
    seen, unseen = set(), [ROOT / "README.md"]
    while unseen:
        page = unseen.pop()
        seen.add(page)
        found = ((page.parent / link.partition("#")[0]).resolve() for link in links(page))
        unseen += {target for target in found if target.suffix == ".md"} - seen

    assert set() == set(PAGES) - seen - {ROOT / "CHANGELOG.md"}


def test_both_languages_of_the_read_me_have_the_same_parts():
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"

    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    assert [block.text for block in blocks(english)] == [block.text for block in blocks(chinese)]
    assert sorted(set(links(english))) == sorted(
        {*links(chinese)} ^ {"README.md", "README.zh-CN.md"}
    )


def test_the_architecture_is_read_in_five_minutes():
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= ARCHITECTURE_LINES


def test_the_architecture_names_every_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    text = (ROOT / "ARCHITECTURE.md").read_text()

    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)

    assert [re.findall(r"\w+", layer) for layer in layers] == [
        re.findall(r"\w+", row) for row in table[: len(layers)]
    ]


def test_the_architecture_names_files_that_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    source = ROOT / "src" / "holdfast"
    names = set(re.findall(r"`([\w/]+\.py)`", text))

    assert names
    assert [] == [name for name in sorted(names) if not list(source.rglob(name))]


def test_the_lines_that_a_developer_types_are_exact():
    text = (ROOT / "README.md").read_text()

    assert "\nmake demo\nmake test\n" in text
