"""The documentation says what the code does: keys, defaults, commands, links."""

from __future__ import annotations

import functools
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from semiseg.settings.config import Config
from semiseg.settings.environment import Settings

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS]


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield prefix + name, list(default) if isinstance(default, tuple) else default


def test_every_key_is_documented_with_its_default_and_no_other() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_.]+[a-z_0-9]*)` \| `([^`]*)` \|", text, re.MULTILINE)
    assert {key: json.loads(default) for key, default in rows} == dict(leaves(Config))


def test_every_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `SEMISEG_([A-Z_]+)`", text, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_the_readme_lists_every_command() -> None:
    from semiseg.cli.help import LINES

    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `semiseg ([a-z]+)`", text, re.MULTILINE) == list(LINES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).is_file()]
    assert missing == []


def test_anchors_from_outside_of_the_site_are_headings() -> None:
    """Within the site the strict build looks at them."""
    outside = [page for page in PAGES if page not in DOCS]
    links = [
        (page.parent / target, anchor)
        for page in outside
        for target, anchor in re.findall(r"\]\(([^):#]+)#([^)]+)\)", page.read_text("utf-8"))
    ]
    assert len(links) >= 2
    assert [(page.name, anchor) for page, anchor in links if anchor not in headings(page)] == []


def headings(page: Path) -> set[str]:
    """The anchors that headings of a page get."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_recipe_is_described() -> None:
    from semiseg import recipes

    text = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert [name for name in recipes.names() if f"`{name}`" not in text] == []


def test_generated_pages_are_up_to_date() -> None:
    made = generator()
    files = made["files"]()
    stale = [
        path.name for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text
    ]
    assert stale == [], "run `python docs/generate.py`"
    assert {path for path in files if path.parent == made["PAGES"]} == set(made["PAGES"].glob("*"))


@functools.cache
def generator() -> dict[str, Any]:
    """What docs/generate.py defines."""
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_every_error_code_has_an_anchor_and_says_how_it_ends() -> None:
    codes = generator()["codes"].collect()
    assert {"LABEL_VALUES", "NO_DATASET", "OUT_OF_MEMORY", "UNKNOWN_METHOD", "TRUNCATED"} <= set(codes)
    assert all(code.exits for code in codes.values())
    text = (ROOT / "docs" / "problems.md").read_text("utf-8")
    assert [name for name in codes if f"{{: #{name.lower()} }}" not in text] == []
    from semiseg.cli.failures import problem_page

    assert problem_page("LABEL_VALUES") == "docs/problems.md#label_values"


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<img alt="" src="http://example/x.png">',
        "<style>@import url(https://fonts.example/x.css);</style>",
        '<a href="other/">no such page</a>',
        '<a href="../x.html">outside of the site</a>',
        '<img alt="" src="x.png">',
        '<a href="index.html#part">no such anchor</a>',
        '<a href="#part">no such anchor here</a>',
    ],
)
def test_what_is_wrong_in_a_built_page_is_found(html: str, tmp_path: Path) -> None:
    built = runpy.run_path(str(ROOT / "docs" / "built.py"))
    page = '<link rel="canonical" href="https://example/"><a href="https://example/?a=1&amp;b=2">to click</a>'
    (tmp_path / "x.svg").touch()
    fine = '<img src="x.svg"><h2 id="here">Here</h2><a href="#here">up</a><a href=".">home</a>'
    (tmp_path / "index.html").write_text(page + fine)
    (tmp_path / "search.json").write_text('["HD95", "Mean Teacher", "DICOM"]')
    assert list(built["problems"](tmp_path)) == []
    (tmp_path / "page.html").write_text(html)
    (problem,) = built["problems"](tmp_path)
    assert re.match("page.html (loads|links to) ", problem)
    assert built["elsewhere"](built["read_all"](tmp_path)).count("<a href=") >= 2
    (tmp_path / "index.html").unlink()
    assert any("no index.html" in problem for problem in built["problems"](tmp_path))


def test_install_lines_are_those_that_work() -> None:
    """Nothing is on a package index yet: semiseg is installed from a copy of the repository."""
    pages = [page.read_text("utf-8").partition("## Error codes")[0] for page in [*READMES, *DOCS]]
    lines = [line for page in pages for line in re.findall(r"pip install [^`\n]+", page)]
    assert len(lines) > 10
    wrong = [line for line in lines if not re.match(INSTALLS, line)]
    assert wrong == []


INSTALLS = (
    r"pip install (torch|\.|-e \.|\"\.\[[a-z0-9,]+\]\"|\"semiseg\[[a-z0-9,]+\]\"|"
    r"--no-index --find-links wheels semiseg|onnxruntime )"
)
"""``semiseg[EXTRA]`` adds an extra to an installation that is there."""


def test_every_recognized_ending_is_described() -> None:
    from semiseg.images import ENDINGS

    text = (ROOT / "docs" / "own-data.md").read_text("utf-8")
    assert [ending for ending in ENDINGS if f"`{ending}`" not in text] == []


def test_methods_that_take_labels_of_some_classes_are_named() -> None:
    from semiseg import methods

    text = (ROOT / "docs" / "own-data.md").read_text("utf-8")
    named = re.search(r"These methods take such labels.*?: (.*?)\.\n\n", text, re.S)
    assert named
    assert re.findall(r"`(\w+)`", named[1]) == methods.names("partial")


def test_the_page_of_bad_data_names_tests_that_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "bad-data.md").read_text("utf-8"))
    assert len(named) > 80
    texts = {file: (ROOT / "tests" / file).read_text("utf-8") for file, _ in named}
    assert [(file, name) for file, name in named if f"def {name}(" not in texts[file]] == []


def test_pages_are_in_the_navigation() -> None:
    import yaml

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    entries = [part for entry in navigation for part in _nested(entry)]
    assert sorted(entries) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)
    assert entries[0] == "index.md"


def test_every_page_says_what_it_is_for_and_what_is_next() -> None:
    """Pages that are written by hand; those of methods and results are generated."""
    written = [p for p in DOCS if p.parent.name not in ("methods", "results") and p.name not in NO_NEXT]
    assert [p.name for p in written if "\nAfter reading this page " not in p.read_text("utf-8")] == []
    assert [p.name for p in written if "\nNext: " not in p.read_text("utf-8")] == []


NO_NEXT = {"index.md", "results.md", "project.md", "gallery.md"}


def test_the_chinese_readme_follows_the_english_one() -> None:
    english, chinese = (path.read_text("utf-8") for path in READMES)
    assert re.findall("(?s)```.*?```", english) == re.findall("(?s)```.*?```", chinese)
    assert english.count("\n## ") == chinese.count("\n## ")
    tables = [
        text.partition("<!-- gains -->")[2].partition("<!-- /gains -->")[0] for text in (english, chinese)
    ]
    numbers = [re.findall(r"\b\d\.\d+\b", table) for table in tables]
    assert numbers[0] == numbers[1] != []
    links = [sorted(set(re.findall(r"\]\((docs/[^)]+)\)", text))) for text in (english, chinese)]
    assert links[0] == links[1]
    assert re.search(r"\d{4}-\d\d-\d\d，提交 [0-9a-f]{7}", chinese)


def test_the_caption_is_of_the_figure_that_is_there() -> None:
    title = re.findall(
        "<title>(.+?) MRI.* with ([0-9]+) labels", (ROOT / "docs/assets/gap.svg").read_text("utf-8")
    )
    ((data, labels),) = title
    for page in (READMES[0], ROOT / "docs" / "index.md"):
        assert f"\n{data} MRI, {labels} of " in page.read_text("utf-8")


def test_the_readme_is_short() -> None:
    text = READMES[0].read_text("utf-8")
    outside = re.sub(r"(?s)```.*?```|<details>.*?</details>|<picture>.*?</picture>", "", text)
    assert len(re.findall(r"[\w'.-]+", outside)) <= 800
    assert len(text.partition("<details>")[0].splitlines()) <= 110
    assert (
        max(len(line) for block in re.findall("(?s)```bash.*?```", text) for line in block.splitlines()) <= 72
    )


def test_the_citation_is_of_this_version() -> None:
    import yaml

    from semiseg.__about__ import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")
    assert f"## {__version__} - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_actions_are_pinned_and_may_only_read() -> None:
    import yaml

    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) == 6
    for path in workflows:
        content = yaml.safe_load(path.read_text("utf-8"))
        assert content["permissions"] == {"contents": "read"}, path.name
        steps = [step for job in content["jobs"].values() for step in job["steps"]]
        used = [step["uses"] for step in steps if "uses" in step]
        assert [use for use in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", use)] == [], path.name


def test_the_image_gets_everything_that_the_wheel_is_built_from() -> None:
    import tomllib

    docker = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {word for line in re.findall(r"(?m)^COPY (.+) \S+$", docker) for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    fragments = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    needed = {"pyproject.toml", "src", *project["project"]["license-files"], *(f["path"] for f in fragments)}
    hook = (ROOT / "hatch_build.py").read_text("utf-8")
    needed |= {"hatch_build.py", *re.findall(r'self\.root\) / "(\w+)"', hook)}
    assert needed == copied


def _nested(entry: dict[str, Any]) -> Iterator[str]:
    for value in entry.values():
        if isinstance(value, str):
            yield value
        else:
            for part in value:
                yield from _nested(part)
