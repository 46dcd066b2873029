"""From a few labeled and many unlabeled scans to a trained, honestly evaluated segmentation model."""

from __future__ import annotations

from semiseg.__about__ import __version__

__all__ = ["__version__"]
