"""Coverage-guided fuzzing of everything that opens files.

``python tests/fuzz/fuzz_readers.py --seconds 60`` (continuous integration) or with hours instead.
A finding is written to ``--findings`` (default: a folder in the system's temporary one) and the
exit code is not 0; put the file into ``tests/fuzz/regressions`` together with its mending.

libFuzzer (through atheris) keeps the limits: one input may take 20 s and the process 3 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

INPUT_SECONDS, PROCESS_MB, LONGEST_INPUT = 20, 3072, 65536


def main() -> int:
    """Fuzz for a while; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="kept and grown over runs; fresh by default")
    parser.add_argument("--findings", type=Path)
    parser.add_argument(
        "--inside",
        action="store_true",
        help="no worker processes: coverage reaches all readers, and so do crashes",
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _fuzz(options)
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed on this system: nothing was fuzzed")
        return 0
    with tempfile.TemporaryDirectory(prefix="isocenter-corpus-") as folder:
        corpus = options.corpus or Path(folder) / "corpus"
        findings = options.findings or Path(tempfile.gettempdir()) / "isocenter-findings"
        for place in (corpus, findings):
            place.mkdir(parents=True, exist_ok=True)
        _fill(corpus, Path(folder) / "making")
        command = [sys.executable, __file__, "--child", "--corpus", corpus, "--findings", findings,
                   "--seconds", str(options.seconds), "--seed", str(options.seed),
                   *(["--inside"] if options.inside else [])]  # fmt: skip
        return subprocess.run(command, check=False).returncode


def _fill(corpus: Path, scratch: Path) -> None:
    from seeds import make_seeds

    known = {name: data for name, data in make_seeds(scratch).items()}
    for file in (HERE / "regressions").glob("*"):
        known[f"regression-{file.name}"] = file.read_bytes()
    for name, data in known.items():
        (corpus / name).write_bytes(data)


def _fuzz(options: argparse.Namespace) -> None:
    """libFuzzer ends the process itself, with or without a finding."""
    import atheris

    with atheris.instrument_imports(include=["imaging"]):
        from target import open_like_the_window

        from imaging.quiet import hush
        from imaging.sandbox import pool
    hush()
    pool.INSIDE = options.inside
    for file in sorted(options.corpus.iterdir()):
        open_like_the_window(file.read_bytes(), watched=False)
    arguments = [
        sys.argv[0], str(options.corpus), f"-max_total_time={options.seconds}",
        f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={PROCESS_MB}", f"-max_len={LONGEST_INPUT}",
        f"-seed={options.seed}",
        f"-artifact_prefix={options.findings}/", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup(arguments, lambda data: open_like_the_window(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
