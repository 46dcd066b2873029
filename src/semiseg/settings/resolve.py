"""The configuration of all its sources, validated; YAML read as users mean it, within limits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from semiseg import recipes
from semiseg.errors import UsageError, unknown_name
from semiseg.settings.config import AUTO_ITERATIONS, DEFAULT_METHOD, Config
from semiseg.settings.options import problems_of

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
    return config.changed("network", name=name)


def with_length(config: Config, device_type: str, dim: int) -> Config:
    """``train.iterations: auto`` replaced by what it means on a device, for a plan of 2 or 3 axes."""
    if config.train.iterations != "auto":
        return config
    return config.changed("train", iterations=AUTO_ITERATIONS[device_type][dim])


def load_recipe(name: str) -> Tree:
    """The raw tree of a recipe by name, or by the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name))
    path = recipes.FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("recipe", name, recipes.names())
    return deepcopy(_shipped(path))


@cache
def _shipped(path: Path) -> Tree:
    """A recipe of the package, read once: a start asks for it several times."""
    return read_yaml(path)


def named_methods(recipe: str) -> frozenset[str]:
    """The methods that a recipe has settings for; of a file that is gone by now, none."""
    try:
        return frozenset(load_recipe(recipe).get("methods") or {})
    except UsageError:
        return frozenset()


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
        tree = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}",
            hint="`semiseg recipes default > mine.yaml` writes a file to start from",
            code="CONFIG_UNREADABLE",
        ) from None
    except Refused as error:
        twice = isinstance(error, DuplicateKey)
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
    return str(method.get("name", DEFAULT_METHOD) if isinstance(method, Mapping) else method)


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
        return read(text)
    except yaml.YAMLError as error:
        shown = text if len(text) < 80 else f"{text[:77]}..."
        why = f": {error.problem}" if isinstance(error, Refused) else ""
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


MOST_VALUES = 100_000
"""Values of a document with its aliases written out: ten lines of aliases can stand for billions."""
DEEPEST = 50
"""Levels of nesting."""
MOST_DIGITS = 400
"""Of a number; float's largest has 309."""


class Refused(yaml.constructor.ConstructorError):
    """YAML that is well formed and still not taken; ``problem`` says why."""


class DuplicateKey(Refused):
    """A mapping names a key twice; YAML would keep the last and say nothing."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads ``1e-3`` as a number (YAML 1.1 wants ``1.0e-3``)."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Refused(None, None, f"nested more than {DEEPEST} levels deep", self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise DuplicateKey(None, None, f"the key {key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MOST_DIGITS:
            raise Refused(None, None, f"a number with more than {MOST_DIGITS} digits", node.start_mark)
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        Refused: a key given twice, or more values, levels or digits than the limits above.
        yaml.YAMLError: not YAML.
    """
    loader = _Loader(text)  # a subclass of SafeLoader: builds plain values only
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    except ValueError as error:  # such as a date in a thirteenth month
        raise Refused(None, None, str(error), loader.get_mark()) from None
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for, aliases written out.

    Raises:
        Refused: more than :data:`MOST_VALUES`, or a node that holds itself.
    """
    if id(node) in above:
        raise Refused(None, None, "an alias stands inside what it stands for", node.start_mark)
    if id(node) in known:
        return known[id(node)]
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = list(node.value)
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    above.add(id(node))
    count = 1 + sum(_count(part, known, above) for part in parts)
    above.remove(id(node))
    if count > MOST_VALUES:
        raise Refused(None, None, f"aliases that stand for more than {MOST_VALUES} values", node.start_mark)
    known[id(node)] = count
    return count
