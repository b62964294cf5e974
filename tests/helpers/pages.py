"""Read Markdown: its code blocks, headings and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    line: int  # where it begins


def name_of(page):
    """A page as it is named from the root of the project."""
    return str(page.relative_to(ROOT))


def blocks(page):
    """The code blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def headings(page):
    """The headings of a page: level and text."""
    lines = _FENCE.sub("", page.read_text()).splitlines()
    return [(len(line.split()[0]), line.lstrip("# ")) for line in lines if re.match(r"#+ ", line)]


def links(page):
    """The targets of the links of a page."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def anchor(heading):
    """The name under which a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
