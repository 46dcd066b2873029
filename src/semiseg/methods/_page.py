"""All that is known of one method, and its page of the documentation. Reads source text, never torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from semiseg import methods, recipes
from semiseg.methods._catalog import METRICS, Row, typed, when, words
from semiseg.methods._facts import FAMILIES, SOURCE, address, by_family

TARGETS = {
    "sdf": "signed distances of the labeled scans",
    "sdf_published": "signed distances of the labeled scans, 0 where a class is absent",
}
DAGGER = "†"
CHECKED = f"Dice and Jaccard in percent. {DAGGER} not checked against the source."
FIGURES = ("Dice", "Jaccard", "HD95", "ASD")


def content(name: str) -> dict[str, Any]:
    """Everything about a method, for ``--json``; text keeps its ``double backticks``.

    Args:
        name: of a method, or ``package.module:Class``.

    Raises:
        UsageError: no such method.
    """
    method = methods.description(name)
    recipe = yaml.safe_load((recipes.FOLDER / "default.yaml").read_text(encoding="utf-8"))
    overlay = recipe.get("methods", {}).get(name) or {}
    changed = overlay.get("method", {}).get("options", {})
    told = method.facts
    return {
        "name": name,
        "title": told.title or name,
        "family": told.family,
        "year": told.year,
        "summary": method.summary,
        "formula": method.formula,
        "paper": told.paper,
        "links": [address(paper.source) for paper in told.papers if paper.source],
        "networks": told.networks or None,
        "trained": told.trained if told.networks else None,
        "counted": told.counted,
        "views": told.seen,
        "work": told.work,
        "targets": list(method.targets),
        "prose": list(method.prose),
        "options": [
            {
                "name": option.name,
                "type": words(option.type),
                "default": option.default,
                "description": re.sub(r"\bNone\b", "``null``", option.description),  # as one types it
                **({"default_recipe": changed[option.name]} if option.name in changed else {}),
            }
            for option in method.options
        ],
        "when": when(name),
        "published": methods.published(name),
        "measured": methods.measured(name),
    }


def facts(page: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts as rows of a table, those that are known."""
    work = f"{page['work']} × a supervised step with the batch of the same plan" if page["work"] else ""
    targets = [f"``{name}``: {TARGETS[name]}" if name in TARGETS else name for name in page["targets"]]
    rows = [
        ("Use it for", page["when"].get("use", "")),
        ("Not for", page["when"].get("avoid", "")),
        ("Family", page["family"]),
        ("Paper", page["paper"]),
        ("Networks", page["counted"]),
        ("Views of unlabeled scans", page["views"]),
        ("Cost of a step", work),
        ("Extra targets", "; ".join(targets)),
    ]
    return [(key, value) for key, value in rows if value]


def formula(page: dict[str, Any]) -> tuple[list[str], str]:
    """The equations that the formula paragraph begins with, and the sentence that goes on after them."""
    lines, rest = [], str(page["formula"])
    while match := re.match(r"[\s,]*``(.+?)``", rest):
        lines.append(match[1])
        rest = rest[match.end() :]
    return lines, rest.strip(" ,.:;") and rest.strip(" ,:;")


def default(option: dict[str, Any]) -> tuple[str, str]:
    """The default as one types it, and the recipe's where it is another ("" where not)."""
    return typed(option["default"]), typed(option["default_recipe"]) if "default_recipe" in option else ""


RERUN = {"": "", "rerun": "re-run"}
"""How the kinds of published figures are shown."""


def published(page: dict[str, Any]) -> list[list[str]]:
    """Published figures as rows: data, labels, four metrics, source, the number of a reason."""
    numbers = {why: number for number, why in enumerate(reasons(page), 1)}
    return [
        [
            ", ".join(filter(None, (row["dataset"], row["setting"], RERUN[row["kind"]]))),
            _labels(row),
            *(f"{row[metric]}{DAGGER if metric in row['unchecked'].split() else ''}" for metric in METRICS),
            row["source"],
            f"{row['comparable']} ({numbers[reason(row)]})",
        ]
        for row in page["published"]
    ]


def reasons(page: dict[str, Any]) -> list[str]:
    """Why published figures can be compared with honest runs of ours, or cannot; each once."""
    return list(dict.fromkeys(map(reason, page["published"])))


def reason(row: Row) -> str:
    """Whether a published figure can be compared with honest runs of ours, and why."""
    return f"{'Comparable' if row['comparable'] == 'yes' else 'Not comparable'}: {row['why']}."


def measured(page: dict[str, Any]) -> list[list[str]]:
    """Our own figures as rows: table, labeled scans, iterations, seeds, Dice, HD95, gains over supervised."""
    return [
        [
            *(row[key] for key in ("table", "labeled", "iterations", "seeds")),
            *(" ± ".join(filter(None, (row[key], row[f"{key}_sd"]))) for key in ("dice", "hd95")),
            *(row[f"{key}_gain"] for key in ("dice", "hd95")),
        ]
        for row in page["measured"]
    ]


MEASURED = (
    "Table", "Labeled", "Iterations", "Seeds", "Dice", "HD95", "Dice vs. supervised", "HD95 vs. supervised",
)  # fmt: skip
MEASURED_AS = "Dice in percent, HD95 in mm; mean ± SD over seeds. Settings differ from table to table."


def markdown(page: dict[str, Any]) -> str:
    """The page of the documentation, ``docs/methods/NAME.md``."""
    equations, rest = formula(page)
    parts = [f"# {page['title']} (`{page['name']}`)", page["summary"], table(("", ""), facts(page))]
    parts += [f"```bash\nsemiseg train MyDataset --method {page['name']}\n```"]
    if page["measured"]:
        figures = MEASURED_AS + " [Commands](../results.md)."
        parts += ["## Our figures", figures, table(MEASURED, measured(page))]
    if page["options"]:
        rows = [[f"`{o['name']}`", o["type"], *_codes(default(o)), o["description"]] for o in page["options"]]
        parts += [
            "## Options",
            f"Set with `--set method.options.KEY=VALUE`. {RECIPE}",
            table(("Option", "Value", "Default", "Recipe `default`", "What"), rows),
        ]
    if page["published"]:
        head = ("Data", "Labeled / unlabeled", *FIGURES, "Source", "Comparable with an honest run")
        why = [f"{number}. {text}" for number, text in enumerate(reasons(page), 1)]
        parts += ["## Published figures", CHECKED, table(head, published(page)), "\n".join(why)]
    parts += ["## Formula and departures"]
    parts += ["\n".join(["```text", *equations, "```"]), rest] if equations else []
    parts += page["prose"]
    parts += ["Next: [all methods](../methods.md) · [which method?](../which-method.md)"]
    return "\n\n".join(_linked(_cited(part), page["name"]) for part in parts if part) + "\n"


RECIPE = "The defaults are the paper's, or what the text below says; the recipe for own data changes some."


def index() -> str:
    """The tables of all methods by family, for ``docs/methods.md``."""
    parts = []
    for family, entries in by_family(methods.describe()).items():
        rows = [
            (
                f"[{entry['title']}](methods/{entry['name']}.md) `{entry['name']}`",
                entry["summary"],
                entry["year"],
                f"{entry['work']}x",
                best_gain(entry["name"]),
            )
            for entry in entries
        ]
        head = ("Method", "What it does", "Year", "Cost", "Best measured gain")
        parts += [f"## {family}", FAMILIES[family], table(head, rows)]
    return "\n\n".join(parts)


def best_gain(name: str) -> str:
    """The largest gain over supervised training that was measured here, and on what data."""
    rows = [row for row in methods.measured(name) if row["dice_gain"]]
    if not rows:
        return "" if name == "supervised" else "not measured yet"
    best = max(rows, key=lambda row: float(row["dice_gain"]))
    seeds = f"{best['seeds']} seed{'s' * (best['seeds'] != '1')}"
    data = best["dataset"].replace("_", " ")
    return f"{best['dice_gain']} Dice ({data}, {best['labeled']} labels, {seeds})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; one without a head has an empty one, since Markdown wants it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _codes(values: Iterable[str]) -> list[str]:
    return [f"`{value}`" if value else "" for value in values]


def _labels(row: Row) -> str:
    counts = " / ".join(filter(None, (row["labeled"], row["unlabeled"])))
    return counts + {"scans": "", "percent": " %"}.get(row["unit"], f" {row['unit']}")


def _cited(text: str) -> str:
    """Markdown of our docstrings: single backticks, papers as links."""
    text = re.sub(r":\w+:`~?(.+?)`", r"`\1`", text).replace("``", "`") if "```" not in text else text
    return SOURCE.sub(lambda match: f"[{match[0]}]({address(match[0])})", text)


def _linked(text: str, name: str) -> str:
    """The names of other methods as links to their pages."""
    others = "|".join(other for other in methods.names() if other != name)
    return re.sub(rf"(?<!\[)`({others})`", r"[`\1`](\1.md)", text)
