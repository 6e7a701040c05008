"""Unique identifiers for what we make: random, or always the same for the same parts."""

from __future__ import annotations

import uuid


def new_uid(*parts: str) -> str:
    """A DICOM UID: random, or always the same for the same parts (PS3.5 B.2)."""
    if not parts:
        return f"2.25.{uuid.uuid4().int}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('isocenter', *parts))).int}"
