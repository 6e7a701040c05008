"""Colour tables for maps, as seventeen evenly spaced anchors.

Source: inferno, viridis (van der Walt and Smith, CC0), cividis (Nuñez et al. 2018, CC0), turbo
(Mikhailov 2019, Apache-2.0); all but turbo rise evenly in lightness and survive colour blindness.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ANCHORS: dict[str, str] = {
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754"
    " d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c"
    " 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
    "cividis": "00224e 002e6a 1a386f 32436c 434e6c 535a6d 61656f 6f6f73 7d7c78"
    " 8c8878 9b9476 aba174 bcae6c cdbb63 deca58 f0d846 fee838",
    "turbo": "30123b 4040a2 466be3 4294ff 28bceb 18ddc2 32f298 6dfe62 a4fc3c"
    " cdec34 eecf3a fdac34 fb7e21 eb5010 d02f05 a91601 7a0403",
    "grey": " ".join(f"{v:02x}" * 3 for v in np.linspace(0, 255, 17).astype(int)),
}

#: Names in the order a menu shows them.
COLOUR_TABLES: tuple[str, ...] = tuple(_ANCHORS)
DEFAULT_COLOUR_TABLE = "inferno"


@lru_cache(maxsize=16)
def colours(name: str, steps: int = 256) -> np.ndarray:
    """A colour table.

    Parameters
    ----------
    name : str
        One of :data:`COLOUR_TABLES`; an unknown name (of a later version, say) gives the default.
    steps : int
        How many entries.

    Returns
    -------
    ndarray, shape (steps, 3)
        uint8 red, green, blue, read-only.
    """
    anchors = _ANCHORS.get(name, _ANCHORS[DEFAULT_COLOUR_TABLE]).split()
    table = np.array([[int(a[i : i + 2], 16) for i in (0, 2, 4)] for a in anchors], dtype=float)
    places = np.linspace(0, len(table) - 1, steps)
    columns = [np.interp(places, np.arange(len(table)), table[:, c]) for c in range(3)]
    result = np.round(np.stack(columns, axis=1)).astype(np.uint8)
    result.flags.writeable = False
    return result
