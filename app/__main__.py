"""Start: arguments, then either a command line verb or the window."""

from __future__ import annotations

import sys
from pathlib import Path

_VERBS = {
    "scan", "convert", "deidentify", "models", "segment", "train", "evaluate", "selftest",
}  # fmt: skip
_HELP = """\
Isocenter - MRI reading and annotation desk with AI assist (research use, not for diagnosis)

  isocenter                    open the window
  isocenter PATH ...           open a folder, file, zip or saved case
  isocenter demo               open the built-in demo study (synthetic)

Without a window (each with --help and --json):
  isocenter scan PATH          list series, their grids and problems
  isocenter convert PATH -o OUT.nii.gz
  isocenter deidentify SRC DST write clean copies without names, dates and UIDs
  isocenter models             list installed models
  isocenter segment PATH --model ID -o DIR
  isocenter train --cases CSV --out DIR    train, adapt or pretrain a model
  isocenter evaluate --model ID --cases CSV --out DIR
  isocenter selftest           check device, drawing, model, disk
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    from imaging.quiet import hush

    hush()
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--reading-worker"]:  # only where the program is one file: imaging.sandbox
        from imaging.sandbox.worker import main as serve

        serve()
        return 0
    if given and given[0] in _VERBS:
        from app.cli import main as run_verb

        return run_verb(given)
    if given and given[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if given and given[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"isocenter {version('isocenter')}")
        return 0
    unknown = [word for word in given if word.startswith("-")]
    if unknown:
        print(f"isocenter: unknown option {unknown[0]} (see isocenter --help)", file=sys.stderr)
        return 2
    gone = [word for word in given if given != ["demo"] and not Path(word).exists()]
    if gone:
        print(
            f"isocenter: {gone[0]} is neither a file, a folder nor a command "
            "(see isocenter --help)",
            file=sys.stderr,
        )
        return 2
    return open_window(given)


def open_window(paths: list[str]) -> int:
    """Show the window, open what was named, and stay until it is closed."""
    from app.settings import load

    settings, problem = load()

    from PySide6.QtWidgets import QApplication

    from app.first_window import first_window

    application = QApplication.instance() or QApplication(["isocenter"])
    assert isinstance(application, QApplication)
    workspace, window = first_window(application, settings)
    window.show()
    application.processEvents()

    from app.compose import compose, quit_program
    from app.logs import catch_crashes, start_log
    from app.messages import sentence

    program = compose(settings, workspace, window)
    start_log()
    catch_crashes(lambda error: window.jobs.say(sentence(error), "danger"))
    if problem:
        window.jobs.say(problem)
    if paths == ["demo"]:
        program.tasks.post(program.cases.open_demo)
    elif paths:
        absolute = [str(Path(path).absolute()) for path in paths]
        program.tasks.post(lambda: program.window.dropped.emit(absolute, False))
    code = application.exec()
    quit_program(program)
    return code


if __name__ == "__main__":
    sys.exit(main())
