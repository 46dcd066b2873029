"""Look at the built documentation: `python docs/built.py site`. Exits 1, with the reasons, if it is wrong."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {"script": "src", "link": "href", "img": "src", "source": "srcset", "iframe": "src", "video": "src"}
"""Tag -> the attribute by which a browser fetches something; links to click are not among them."""
NOT_FETCHED = {"canonical", "alternate", "edit", "next", "prev"}
FOUND = ("HD95", "mean teacher", "DICOM")
"""What the search must find."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and set((given.get("rel") or "").split()) & NOT_FETCHED:
            return
        address = given.get(LOADED.get(tag, "")) or ""
        if re.match(r"(?:https?:)?//", address):
            self.fetched.append(address)


def fetched(html: str) -> list[str]:
    """Addresses of other hosts that a browser fetches by itself with a page."""
    page = _Page()
    page.feed(html)
    styles = re.findall(r"@import[^;]*//[^;]+|url\(\s*['\"]?(?:https?:)?//[^)]+", html)
    return page.fetched + styles


def problems(site: Path) -> Iterator[str]:
    """What is wrong with a built site, a line each."""
    pages = sorted(site.rglob("*.html"))
    if not (site / "index.html").is_file():
        yield "there is no index.html: the root and the logo lead nowhere"
    for path in [*pages, *site.rglob("*.css")]:
        for address in fetched(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} loads {address}"
    index = next(iter([*site.rglob("search.json"), *site.rglob("search_index.json")]), None)
    if index is None:
        yield "there is no search index"
        return
    text = json.dumps(json.loads(index.read_text(encoding="utf-8")), ensure_ascii=False).lower()
    yield from (f"the search does not find {word!r}" for word in FOUND if word.lower() not in text)


if __name__ == "__main__":
    wrong = list(problems(Path(sys.argv[1])))
    sys.stdout.write("\n".join(wrong) + ("\n" if wrong else ""))
    sys.exit(bool(wrong))
