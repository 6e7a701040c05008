"""The same work without a window: ``scan``, ``convert``, ``deidentify``, ``models``, ``segment``
and ``selftest``.

Each verb is a thin file that calls what the window calls and prints the outcome, as text for a
person or with ``--json`` for a program. Progress and warnings go to stderr, results to stdout.
No Qt here; VTK only for the self test. Read :mod:`app.cli.program` first.
"""

from __future__ import annotations


def main(arguments: list[str]) -> int:
    """Run one verb.

    Parameters
    ----------
    arguments : list of str
        The verb and its options, without the program's name.

    Returns
    -------
    int
        0 done; 1 failed, with one sentence on stderr; 2 the command line was not understood;
        3 something had to be asked first and nobody was there (``--yes`` answers); 130 interrupted.
    """
    from app.cli.program import run

    return run(arguments)
