"""Look at the built documentation: `python docs/built.py site`. Exits 1, with the reasons, if it is wrong.

With `--external` it prints one page with every link to another host, for a program that asks these hosts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "link": "href", "img": "src", "source": "srcset", "iframe": "src", "video": "src"}
"""Tag -> the attribute by which a browser fetches something; links to click are not among them."""
NOT_FETCHED = {"canonical", "alternate", "edit", "next", "prev"}
FOUND = ("HD95", "mean teacher", "DICOM")
"""What the search must find."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given.get("id") or "", (given.get("name") or "") if tag == "a" else ""}
        self.links += [value for name in ("href", "src") if (value := given.get(name))]
        if tag == "link" and set((given.get("rel") or "").split()) & NOT_FETCHED:
            return
        address = given.get(LOADED.get(tag, "")) or ""
        if re.match(r"(?:https?:)?//", address):
            self.fetched.append(address)


def read(path: Path) -> _Page:
    """A page with what it links to, what a browser fetches with it, and its anchors."""
    page, html = _Page(), path.read_text(encoding="utf-8")
    page.feed(html)
    page.fetched += re.findall(r"@import[^;]*//[^;]+|url\(\s*['\"]?(?:https?:)?//[^)]+", html)
    return page


def dead(site: Path, pages: dict[Path, _Page]) -> Iterator[str]:
    """Links to files and anchors of the site that are not there."""
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            below = unquote(parts.path)
            target = (
                (site / below[1:] if below[:1] == "/" else path.parent / below).resolve() if below else path
            )
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{path.relative_to(site)} links to {link}, which is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)} links to {link}: there is no such anchor"


def elsewhere(pages: dict[Path, _Page]) -> str:
    """One HTML page with every address of another host that a page links to."""
    links = {link for page in pages.values() for link in page.links if re.match("https?://", link)}
    return "".join(f'<a href="{escape(link)}">{escape(link)}</a>\n' for link in sorted(links))


def read_all(site: Path) -> dict[Path, _Page]:
    """Every page of a site, but that for addresses that are not there: its links begin at the host's root."""
    found = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    return {path: read(path) for path in found}


def problems(site: Path) -> Iterator[str]:
    """What is wrong with a built site, a line each."""
    site = site.resolve()
    pages = read_all(site)
    if not (site / "index.html").is_file():
        yield "there is no index.html: the root and the logo lead nowhere"
    for path, page in {**pages, **{path: read(path) for path in site.rglob("*.css")}}.items():
        yield from (f"{path.relative_to(site)} loads {address}" for address in page.fetched)
    yield from dead(site, pages)
    index = next(iter([*site.rglob("search.json"), *site.rglob("search_index.json")]), None)
    if index is None:
        yield "there is no search index"
        return
    text = json.dumps(json.loads(index.read_text(encoding="utf-8")), ensure_ascii=False).lower()
    yield from (f"the search does not find {word!r}" for word in FOUND if word.lower() not in text)


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    if "--external" in sys.argv:
        sys.stdout.write(elsewhere(read_all(folder)))
        sys.exit(0)
    wrong = list(problems(folder))
    sys.stdout.write("\n".join(wrong) + ("\n" if wrong else ""))
    sys.exit(bool(wrong))
