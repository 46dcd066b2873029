"""What a paper that used a run should cite."""

from __future__ import annotations

from semiseg import methods, networks
from semiseg.__about__ import __version__
from semiseg.errors import UsageError


def papers(method: str, network: str) -> dict[str, str]:
    """The papers of a method, of a network and of semiseg, those that are known.

    Args:
        method: a name, or ``package.module:Class``.
        network: the same, or ``monai:Name``.
    """
    try:
        paper = methods.description(method).paper
    except UsageError:  # from elsewhere, and its source cannot be read
        paper = ""
    architecture = {entry["name"]: entry["paper"] for entry in networks.describe()}.get(network, "")
    known = {"method": paper, "network": architecture, "semiseg": f"semiseg {__version__}, see CITATION.cff"}
    return {what: text for what, text in known.items() if text}
