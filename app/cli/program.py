"""The verbs and their options, and what becomes of a failure: one sentence and an exit code."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.output import Output
from app.cli.training_verbs import add_training_verbs
from app.messages import is_ours, sentence
from imaging.errors import ImagingError

log = logging.getLogger(__name__)

FAILED, MISUSED, UNSURE, INTERRUPTED = 1, 2, 3, 130
_VERBS = (
    "scan", "convert", "deidentify", "models", "segment", "train", "evaluate", "selftest",
)  # fmt: skip

program = typer.Typer(
    name="isocenter",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MRI reading and annotation with AI assist, without a window. "
    "Research use, not for diagnosis.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Where = Annotated[Path, typer.Argument(metavar="PATH", help="Folder, file or zip archive.")]
Wanted = Annotated[
    str, typer.Option("--series", metavar="UID", help="Which series: its UID or its number.")
]

Image = Annotated[
    int, typer.Option("--image", metavar="N", min=0, help="Which image of a 4D series, from 1.")
]
Even = Annotated[
    bool, typer.Option("--even", help="Interpolate slices where they lie at uneven distances.")
]


@program.command("scan")
def _scan(
    path: Where,
    names_as: Annotated[
        str,
        typer.Option(
            "--names-as",
            metavar="SCRIPT",
            help="Script of text whose files do not say it: korean, cyrillic, western ...",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """List the series under a path, their grids, and what could not be read."""
    from app.cli.scan import scan

    scan(path, Output(as_json), names_as)


@program.command("convert")
def _convert(
    path: Where,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="OUT.nii.gz, .nii, .nrrd or .mha")
    ],
    series: Wanted = "",
    image: Image = 0,
    even: Even = False,
    wanted: Annotated[
        str,
        typer.Option("--object", metavar="ID", help="A mask, contours or a map of the listing."),
    ] = "",
    on: Annotated[
        Path | None, typer.Option("--on", metavar="PATH", help="Images the object was made on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one series, or one mask or map on its images, as NIfTI, NRRD or MetaImage."""
    if wanted or on is not None:
        from app.cli.convert_object import convert_object

        convert_object(path, out, wanted, on, Output(as_json))
        return
    from app.cli.convert import convert

    convert(path, out, series, Output(as_json), image, even)


@program.command("deidentify")
def _deidentify(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder, file or zip archive.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Empty or new folder.")],
    keep_dates: Annotated[bool, typer.Option("--keep-dates", help="Dates stay.")] = False,
    shift_dates: Annotated[
        bool,
        typer.Option(
            "--shift-dates",
            help="Each patient's dates move by a secret number of days; times of day stay exact.",
        ),
    ] = False,
    keep_uids: Annotated[bool, typer.Option("--keep-uids", help="UIDs stay.")] = False,
    keep_descriptions: Annotated[
        bool, typer.Option("--keep-descriptions", help="Known words of descriptions stay.")
    ] = False,
    keep_private_safe: Annotated[
        bool, typer.Option("--keep-private-safe", help="b-values, mosaic layout, scaling stay.")
    ] = False,
    keep_device: Annotated[
        bool, typer.Option("--keep-device", help="Station and serial number stay.")
    ] = False,
    keep_institution: Annotated[
        bool, typer.Option("--keep-institution", help="The hospital stays.")
    ] = False,
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="Sex, age, size and weight stay.")
    ] = False,
    deface: Annotated[bool, typer.Option("--deface", help="Cut the face off heads.")] = False,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Key file; made where missing.")
    ] = None,
    pseudonyms: Annotated[
        Path | None,
        typer.Option("--pseudonyms", metavar="CSV", help="Patient ID, pseudonym; one a line."),
    ] = None,
    pixels_checked: Annotated[
        bool,
        typer.Option("--pixels-checked", help="You have looked at all: no text in the pixels."),
    ] = False,
    checked: Annotated[
        list[str] | None,
        typer.Option(
            "--checked",
            metavar="WHAT",
            help="You have looked at these only: series UID, file, folder, or a .txt with one "
            "a line. May be repeated.",
        ),
    ] = None,
    no_face: Annotated[
        list[str] | None,
        typer.Option(
            "--no-face",
            metavar="WHAT",
            help="With --deface: you have looked, no face in these (skull-stripped, knees ...); "
            "as for --checked.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Write clean copies for others: no names, no dates, new UIDs, searched before they leave."""
    from app.cli.deidentify import Wish, deidentify
    from imaging.deidentify.options import Options

    if keep_dates and shift_dates:
        raise typer.BadParameter("--keep-dates and --shift-dates exclude each other")
    options = Options(
        dates="keep" if keep_dates else "shift" if shift_dates else "remove",
        keep_uids=keep_uids,
        keep_descriptions=keep_descriptions,
        keep_private_safe=keep_private_safe,
        keep_device=keep_device,
        keep_institution=keep_institution,
        keep_characteristics=keep_characteristics,
        pixels_checked=pixels_checked,
        deface=deface,
    )
    wish = Wish(options, key, pseudonyms, dry_run, tuple(checked or ()), tuple(no_face or ()))
    if not deidentify(source, target, wish, Output(as_json)):
        raise typer.Exit(FAILED)


@program.command("models")
def _models(as_json: Json = False) -> None:
    """List the installed models: what for, quick or thorough, seconds of a run."""
    from app.cli.models import models

    models(Output(as_json))


@program.command("segment")
def _segment(
    path: Where,
    model: Annotated[str, typer.Option("--model", metavar="ID", help="See 'isocenter models'.")],
    out: Annotated[
        Path,
        typer.Option("--output", "--out", "-o", metavar="DIR", help="Folder for the results."),
    ],
    series: Wanted = "",
    t1: Annotated[
        Path | None,
        typer.Option("--t1", metavar="PATH", help="The T1w image, where it helps the model."),
    ] = None,
    t2: Annotated[
        Path | None,
        typer.Option("--t2", metavar="PATH", help="The T2w image, where it helps the model."),
    ] = None,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Thorough instead of quick: several models and their doubt, several times as "
            "long; see the seconds in 'isocenter models'.",
        ),
    ] = False,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="nifti, dicom-seg or both.")
    ] = "nifti",
    device: Annotated[str, typer.Option("--device", metavar="auto|cuda|cpu")] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="Also a Grad-CAM map.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Probability above which a voxel is marked."),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also a map of how unsure the model is.")
    ] = False,
    places: Annotated[
        bool,
        typer.Option("--places", help="Also where in the brain: counts by place (tissue model)."),
    ] = False,
    image: Image = 0,
    even: Even = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Run although the image does not look like the model's."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a model find lesions (or what it is made for) and write what it found.

    Where the image looks like another sequence than the model's, it asks; without a terminal it
    stops with exit code 3 unless --yes is given.
    """
    from app.cli.segment import Wish, segment

    kinds = tuple(formats.split(","))
    others = {name: file for name, file in (("T1w", t1), ("T2w", t2)) if file is not None}
    wish = Wish(
        model, series, kinds, device, explain, threshold, image, even, others, thorough,
        uncertainty, places, yes,
    )  # fmt: skip
    segment(path, out, wish, Output(as_json))


add_training_verbs(program)


@program.command("selftest")
def _selftest(as_json: Json = False) -> None:
    """Check device, driver, memory, drawing, journal and a short model run."""
    from app.cli.selftest import selftest

    if not selftest(Output(as_json)):
        raise typer.Exit(FAILED)


def run(arguments: list[str]) -> int:
    """Run one verb; see :func:`app.cli.main`."""
    _use_utf8()
    fail = _failure("--json" in arguments)
    with warnings.catch_warnings(), _QuietLogs():
        warnings.simplefilter("ignore")
        try:
            code = program(args=list(arguments), prog_name="isocenter", standalone_mode=False)
            if code == INTERRUPTED:  # some versions of typer turn Ctrl+C into this exit code
                raise KeyboardInterrupt
            return code if isinstance(code, int) else 0
        except (KeyboardInterrupt, typer.Abort):
            return fail("Interrupted; files that were finished are whole.", INTERRUPTED)
        except BrokenPipeError:  # the reader (head, say) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            if misuse := _misuse(error):
                verb = f"{arguments[0]} " if arguments and arguments[0] in _VERBS else ""
                return fail(f"{misuse.rstrip('.')} (see isocenter {verb}--help).", MISUSED)
            if is_ours(error):
                _write_to_log(error)
            return fail(_one_sentence(error), UNSURE if _unsure(error) else FAILED)


def _unsure(error: Exception) -> bool:
    """Whether a question stood open and nobody was there to answer it."""
    from app.cli.segment_images import Unsure

    return isinstance(error, Unsure)


def _misuse(error: Exception) -> str:
    """What the parser of the command line says; it may be click's own or the one inside typer."""
    said = getattr(error, "format_message", None)
    return " ".join(str(said()).split()) if callable(said) else ""


def _failure(as_json: bool) -> Callable[[str, int], int]:
    def fail(words: str, code: int) -> int:
        if as_json:
            print(json.dumps({"error": words}, ensure_ascii=False))
        print(f"isocenter: {words}", file=sys.stderr)
        return code

    return fail


def _one_sentence(error: BaseException) -> str:
    if is_ours(error):
        return f"Isocenter made a mistake ({type(error).__name__}); the log has the details."
    if isinstance(error, ImagingError):
        return " ".join(str(error).split())
    return sentence(error)


def _write_to_log(error: BaseException) -> None:
    from app.logs import frames_of, start_log

    try:
        start_log()
        log.error("command line failed: %s", frames_of(error))
    except OSError:
        return


def _use_utf8() -> None:
    """A name from a header must not stop a listing on a terminal of another encoding."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


class _QuietLogs:
    """Libraries quote headers in their log lines; none of that reaches the terminal."""

    def __enter__(self) -> None:
        # Without any, Python itself would print that a library has no handler.
        self._kept, logging.lastResort = logging.lastResort, logging.NullHandler()

    def __exit__(self, *_: object) -> Literal[False]:
        logging.lastResort = self._kept
        return False
