"""What a bundle's metadata.json must have."""

from __future__ import annotations

from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        "schema", "version", "monai_version", "pytorch_version", "numpy_version",
        "required_packages_version", "task", "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        **{name: {"type": "string"} for name in (
            "schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description",
            "authors", "copyright", "intended_use", "data_source", "data_type", "name",
        )},
        **{name: {"type": "object", "additionalProperties": {"type": "string"}} for name in (
            "changelog", "required_packages_version",
        )},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tensor"}},
        },
    },
    "$defs": {
        "tensor": {
            "type": "object",
            "required": [
                "type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
                "channel_def",
            ],
            "properties": {
                "type": {"enum": ["image", "series", "tuples", "probabilities"]},
                "format": {"type": "string"},
                "modality": {"type": "string"},
                "num_channels": {"type": "integer", "minimum": 1},
                "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}, "maxItems": 3},
                "dtype": {"type": "string"},
                "value_range": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
                "is_patch_data": {"type": "boolean"},
                "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    },
}  # fmt: skip
"""Keys and types of MONAI's bundle specification, written down from its text: the published schema asks for
less; it is a download, and in no package."""
