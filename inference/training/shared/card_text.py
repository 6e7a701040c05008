"""A model card as TOML: plain values first, then tables, then lists of tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["as_toml"]


def as_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """The text of a card.

    Parameters
    ----------
    table : mapping
        Text, numbers, truth values, lists of those, mappings and lists of mappings; what is None
        is left out.
    """
    plain, nested = [], []
    for name, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            nested.append(f"\n[{prefix}{_key(name)}]\n" + as_toml(value, f"{prefix}{_key(name)}."))
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            nested += [
                f"\n[[{prefix}{_key(name)}]]\n" + as_toml(item, f"{prefix}{_key(name)}.")
                for item in value
            ]
        else:
            plain.append(f"{_key(name)} = {_value(value)}\n")
    return "".join(plain) + "".join(nested)


def _key(name: str) -> str:
    simple = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if simple else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)
