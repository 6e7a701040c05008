"""Reads what strangers wrote in processes that may die: limited in memory and in time.

Call :func:`run_limited` (or :func:`stream_limited` for many results) with the name of a function
and plain arguments; it runs in one of a few worker processes, and whatever goes wrong there, a
crash, too much memory, an endless loop, comes back as :class:`imaging.errors.BadInput`. Workers
are started on first use and end with the program. Read :mod:`imaging.sandbox.pool` first.

This package knows no file format; it may import ``imaging.errors`` and numpy, no more. Functions
are found by name.
"""

from imaging.sandbox.pool import close, run_limited, stream_limited, warm, workers

__all__ = ["close", "run_limited", "stream_limited", "warm", "workers"]
