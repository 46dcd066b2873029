"""Lay the sources of a configuration over one another and validate the result, all problems at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from semiseg import recipes, yaml_text
from semiseg.config import Config
from semiseg.errors import UsageError, unknown_name
from semiseg.model_problems import problems_of

ENVIRONMENT_PREFIX = "SEMISEG__"

Tree = dict[str, Any]


def resolve(
    *,
    recipe: str | Path | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of a run.

    Args:
        recipe: a name from ``semiseg/recipes`` or the path of a YAML file of the same shape.
        file: the user's YAML (``-c``).
        environment: where to look for ``SEMISEG__SECTION__KEY`` (default: ``os.environ``).
        settings: ``section.key=value`` strings (``--set``), values in YAML.
        flags: dotted key -> value, from command-line flags or keyword arguments; as strong as ``settings``.

    Raises:
        UsageError: unknown keys (with the nearest one), bad values, unreadable files; all of them at once.
    """
    file_tree = read_yaml(file) if file else {}
    env_tree = _from_environment(os.environ if environment is None else environment)
    set_tree = parse_settings(settings)
    for key, value in (flags or {}).items():
        _plant(set_tree, key.split("."), value)
    over = merge(merge(file_tree, env_tree), set_tree)

    name = str(recipe or over.get("recipe") or "default")
    base = load_recipe(name)
    per_method = base.pop("methods", {}) or {}
    method = _method_name(merge(base, over))
    tree = merge(merge(base, per_method.get(method, {})), over)
    tree["recipe"] = name
    if isinstance(tree.get("method"), str):
        tree["method"] = {"name": tree["method"]}
    return validate(tree)


def with_network(config: Config, name: str) -> Config:
    """``network: auto`` replaced by a name."""
    if config.network.name != "auto":
        return config
    return config.model_copy(update={"network": config.network.model_copy(update={"name": name})})


def load_recipe(name: str) -> Tree:
    """The raw tree of a recipe by name, or by the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name))
    path = recipes.FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("recipe", name, recipes.names())
    return read_yaml(path)


def validate(tree: Tree) -> Config:
    """Check a tree against :class:`Config`; every problem in one error."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = problems_of(error, Config)
    raise UsageError(
        "configuration: " + "; ".join(lines),
        hint="`semiseg train --help` names the flags, docs/configuration.md every key",
        code="CONFIG",
        details={"problems": lines},
    )


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """``above`` laid over ``below``; mappings merge key by key, all else is replaced.

    The options of one network (or augmentation) are not those of another: a new name drops them. So does
    another ``partner`` with ``partner_options`` beside it.
    """
    changed = {f"{key}_options" for key, value in above.items() if value != below.get(key)}
    result: Tree = {key: value for key, value in below.items() if key not in changed}
    for key, value in above.items():
        old = result.get(key)
        if key == "method" and isinstance(value, str):
            value = {"name": value}
        if key == "method" and isinstance(old, str):
            old = {"name": old}
        if key in ("network", "augment") and _renamed(old, value):
            old = {}
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _renamed(old: Any, new: Any) -> bool:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or "name" not in new:
        return False
    return bool(old.get("name") != new["name"])


def read_yaml(path: Path) -> Tree:
    """A YAML mapping from a file.

    Raises:
        UsageError: no such file, not YAML, or not a mapping.
    """
    try:
        tree = yaml_text.read(path.read_text())
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}",
            hint="`semiseg recipes default > mine.yaml` writes a file to start from",
            code="CONFIG_UNREADABLE",
        ) from None
    except yaml_text.Refused as error:
        twice = isinstance(error, yaml_text.DuplicateKey)
        raise UsageError(
            f"{path}{_line(error)}: {error.problem}",
            hint="put what both hold into one, and delete the other" if twice else "write the settings out",
            code="CONFIG_DUPLICATE" if twice else "CONFIG",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}" if where else ""
        raise UsageError(
            f"{path} is not YAML{at}",
            hint="look for unclosed brackets or quotes, tabs and wrong indentation just before that place",
            code="CONFIG_NOT_YAML",
        ) from None
    if not isinstance(tree, dict):
        raise UsageError(
            f"{path} must hold `key: value` sections, got "
            + ("nothing" if tree is None else f"a {type(tree).__name__}"),
            hint="such as `optimizer: {lr: 0.001}`; docs/configuration.md names every key",
            code="CONFIG",
        )
    return tree


def _line(error: yaml.MarkedYAMLError) -> str:
    return f", line {error.problem_mark.line + 1}" if error.problem_mark else ""


def _method_name(tree: Mapping[str, Any]) -> str:
    method = tree.get("method", {})
    return str(method.get("name", "mean_teacher") if isinstance(method, Mapping) else method)


def _from_environment(environment: Mapping[str, str]) -> Tree:
    tree: Tree = {}
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _plant(tree, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), _value(name, value))
    return tree


def _value(source: str, text: str) -> Any:
    """The YAML value of one setting.

    Raises:
        UsageError: not a value; ``source`` is named.
    """
    try:
        return yaml_text.read(text)
    except yaml.YAMLError as error:
        shown = text if len(text) < 80 else f"{text[:77]}..."
        why = f": {error.problem}" if isinstance(error, yaml_text.Refused) else ""
        raise UsageError(
            f"{source}: {shown!r} is not a YAML value{why}",
            hint="close brackets and quotes, and protect them from the shell: --set 'plan.patch=[64,64]'",
        ) from None


def parse_settings(settings: Iterable[str]) -> Tree:
    """The tree that ``section.key=value`` strings (``--set``) describe, values read as YAML.

    Raises:
        UsageError: not ``key=value``, or a value that is not YAML.
    """
    tree: Tree = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--set wants key=value, got {setting!r}", hint="for example --set optimizer.lr=0.001"
            )
        _plant(tree, key.strip().split("."), _value(f"--set {key}", value))
    return tree


def _plant(tree: Tree, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        child = tree.get(key)
        if isinstance(child, str) and key == "method":
            child = {"name": child}
        if not isinstance(child, dict):
            child = {}
        tree[key] = child
        tree = child
    tree[path[-1]] = value
