"""Plain values from YAML, read as users mean it, within limits that no honest file reaches."""

from __future__ import annotations

import re
from typing import Any

import yaml

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
