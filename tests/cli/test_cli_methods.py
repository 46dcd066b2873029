"""``semiseg methods``: all of them, and everything about one."""

from __future__ import annotations

import re
import sys

import pytest

from semiseg import methods
from semiseg.methods._facts import FAMILIES


def test_the_list_has_all(cli):
    answer = cli("methods", "--json")
    assert sorted(entry["name"] for entry in answer.json["methods"]) == methods.names()
    assert all(entry["work"] and entry["paper"] and entry["networks"] for entry in answer.json["methods"])


def test_the_list_is_by_family_and_shown_whole(cli):
    shown = cli("methods").out
    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == list(FAMILIES)
    first = re.findall(r"^(\w+) +\d{4} ", shown, re.MULTILINE)
    assert (first[0], first[3]) == ("supervised", "mean_teacher")
    assert sorted(first) == methods.names()
    assert max(map(len, shown.splitlines())) <= 90
    cheapest = cli("methods", "--family", "several networks", "--sort", "cost", "--json").json["methods"]
    assert {entry["family"] for entry in cheapest} == {"Several networks"}
    assert [float(entry["work"]) for entry in cheapest] == sorted(float(e["work"]) for e in cheapest)


@pytest.mark.parametrize("name", methods.names())
def test_every_paper_can_be_cited(cli, name):
    entry = cli("methods", name, "--cite").out
    assert entry.startswith(f"@misc{{semiseg_{name},\n")
    assert re.search(r"  title = \{\{\S.*\}\},\n  author = \{\S.*\},\n  year = \{\d{4}\},\n", entry)
    assert re.search("arXiv|doi|https", entry)


def test_citing_needs_a_name(cli):
    assert "--cite needs the name of a method" in cli("methods", "--cite").err


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("mean_teacher", "Mean Teacher"),
        ("ua_mt", "UA-MT"),
        ("abd_bcp", "ABD BCP"),
        ("supervised", "Supervised"),
        ("entropy_min", "Entropy Minimization"),
    ],
)
def test_a_title_is_the_name_that_people_know(name, title):
    assert {entry["name"]: entry["title"] for entry in methods.describe()}[name] == title


@pytest.mark.parametrize("name", methods.names())
def test_one_has_its_page(cli, name):
    answer = cli("methods", name)
    assert answer.code == 0
    assert "``" not in answer.out
    found = cli("methods", name, "--json").json
    assert found["name"] == name
    assert found["summary"] in " ".join(answer.out.split())
    for option in found["options"]:
        assert option["name"] in answer.out
        assert option["type"]


def test_the_recipe_for_own_data_shows_where_it_differs(cli):
    options = {option["name"]: option for option in cli("methods", "ua_mt", "--json").json["options"]}
    view = options["student_view"]
    assert (view["default"], view["default_recipe"]) == ("weak", "strong")
    assert "default_recipe" not in options["decay"]


def test_figures_are_shown_with_their_doubts(cli):
    text = cli("methods", "ua_mt").out
    assert "88.88 " in text
    assert "88.83†" in text
    assert "Not comparable: scans are cropped around the ground truth" in " ".join(text.split())


def test_an_unknown_name_gets_the_nearest(cli):
    answer = cli("methods", "ua_tm")
    assert answer.code == 2
    assert "'ua_mt'" in answer.err


OUTSIDE = '''
raise RuntimeError("the source is read, not run")

class Mine(Method):
    """Mine alone."""

    def __init__(self, make_net, *, tau: Share = 0.5, sizes: tuple[int, ...] = (1, 2), odd: Thing = THING):
        """Constructor."""
'''


def test_a_method_from_elsewhere_is_read_and_not_run(cli, tmp_path, monkeypatch):
    (tmp_path / "my_outside_method.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    answer = cli("methods", "my_outside_method:Mine", "--json")
    assert "my_outside_method" not in sys.modules
    found = answer.json
    assert found["summary"] == "Mine alone."
    kinds = [(option["name"], option["type"], option["default"]) for option in found["options"]]
    assert kinds == [
        ("tau", "number from 0 to 1", 0.5),
        ("sizes", "[whole number, …]", [1, 2]),
        ("odd", "Thing", "THING"),
    ]
    assert "Mine alone." in cli("methods", "my_outside_method:Mine").out
    assert cli("methods", "my_outside_method:Other").code == 2
    assert cli("methods", "no_such_package.module:Mine").code == 2
    assert cli("methods", "sys:Mine").code == 2
