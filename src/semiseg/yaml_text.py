"""Plain values from YAML, read as users mean it."""

from __future__ import annotations

import re
from typing import Any

import yaml


class DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping names a key twice; YAML would keep the last and say nothing."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads ``1e-3`` as a number (YAML 1.1 wants ``1.0e-3``)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise DuplicateKey(None, None, f"the key {key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        DuplicateKey: a mapping names a key twice.
        yaml.YAMLError: not YAML.
    """
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader: builds plain values only
