from __future__ import annotations

import pytest

from semiseg.comparison.report.html import Markup, join, raw, tag


def test_texts_and_attributes_are_escaped_and_elements_are_not() -> None:
    assert tag("p", "<b>", tag("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"
    assert tag("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'
    assert join(["<", [">", None, tag("br")]]) == "&lt;&gt;<br>"
    assert isinstance(tag("p"), Markup)


def test_adding_to_markup_makes_plain_text_again() -> None:
    """Python's own + and format forget that a part was escaped, so that the sum is escaped, not trusted."""
    assert tag("p", tag("b", "x") + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"
    assert tag("p", f"{tag('b', 'x')}") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"


def test_attributes_are_named_as_html_has_them() -> None:
    assert (
        tag("th", data_key=1.5, class_="a", hidden=True, title=None, open=False)
        == '<th data-key="1.5" class="a" hidden></th>'
    )


def test_style_and_script_cannot_be_ended_from_within() -> None:
    assert raw("a < b", element="script") == "a < b"
    with pytest.raises(ValueError, match="end tag"):
        raw("x</SCRIPT>", element="script")
