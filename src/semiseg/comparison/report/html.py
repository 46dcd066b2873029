"""HTML by function calls: every text is escaped unless it was made here.

Names of methods, variants and cases come from a user's files, so that forgetting to escape one must not be
possible: :func:`tag` escapes what is not :class:`Markup`, and only this module makes Markup of strings.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Attribute = str | int | float | bool | None
Child = str | Markup | None
Content = Child | Iterable["Content"]


def tag(name: str, /, *children: Content, **attributes: Attribute) -> Markup:
    """An element.

    Args:
        name: of the element.
        children: texts, elements, or lists of these; None is left out.
        attributes: a trailing underscore is dropped and others become hyphens (``class_``, ``data_key``);
            None and False are left out, True stands alone.
    """
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(opened if name in VOID else f"{opened}{join(children)}</{name}>")


def join(children: Iterable[Content], separator: str = "") -> Markup:
    """Elements and texts one after the other; texts are escaped, the separator, too."""
    return Markup(escape(separator).join(_child(child) for child in children if child is not None))


def raw(text: str, *, element: str) -> Markup:
    """The content of a ``style`` or ``script`` element, which HTML does not escape.

    Args:
        text: of our own files, never of a user's.
        element: the name of the element.

    Raises:
        ValueError: the text would end the element.
    """
    if f"</{element}" in text.lower():
        raise ValueError(f"text of a {element} element must not hold its end tag")
    return Markup(text)


def trusted(markup: str) -> Markup:
    """Declare a string HTML; for the serializers of this room alone."""
    return Markup(markup)


def _child(child: Content) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    return join(child or ())


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
