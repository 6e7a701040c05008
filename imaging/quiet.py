"""What libraries say goes nowhere: their warnings and log lines quote headers, which name patients.

Every process of the program calls :func:`hush` once, before it reads anything.
"""

from __future__ import annotations

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom", "nibabel", "pylibjpeg", "openjpeg", "rle", "PIL")


def hush() -> None:
    """No warning of any module and no log line of a library reaches the terminal or our log."""
    warnings.simplefilter("ignore")
    logging.lastResort = None  # it prints what has no handler
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
