"""``isocenter train``: a model of one's own, an adapted one, or a pretraining."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.errors import BadInput, ImagingError

if TYPE_CHECKING:
    from inference.training.own.choices import Choices
    from inference.training.own.progress import Speaker

#: Exit code of a training that was stopped and can go on (130 would be told as a failure).
STOPPED = 4


def train(
    choices: Choices,
    *,
    as_json: bool,
    resume: bool = False,
    check: bool = False,
    pretrain: Path | None = None,
    install: bool = False,
) -> int:
    """Do what was chosen; returns the exit code.

    Parameters
    ----------
    check : bool
        Only look at the cases.
    pretrain : Path or None
        Folder of images to learn from without masks.
    install : bool
        Put the package into the user's folder of models where it was not refused.

    Raises
    ------
    ImagingError
        Where it cannot go on, and the words are not told as JSON.
    """
    from inference.training.own.progress import Speaker, Stopped

    speaker = Speaker(as_json)
    speaker.listen()
    try:
        done = _done(choices, speaker, resume, check, pretrain)
        if install and done.get("package"):
            _install(Path(done["package"]), speaker)
    except Stopped:
        speaker.stopped("Stopped; its checkpoint is written, and --resume goes on with it.")
        return STOPPED
    except ImagingError as error:
        if not as_json:
            raise
        what = f"{error.what}: {Path(error.where).name}" if error.where else error.what
        speaker.failed(what, error.advice)
        return 1
    return 0


def _done(
    choices: Choices, speaker: Speaker, resume: bool, check: bool, pretrain: Path | None
) -> dict:
    if check:
        from inference.training.own.training import check_only

        check_only(choices, speaker)
        return {}
    if pretrain is not None:
        from inference.training.own.pretraining import pretrain as run_pretraining

        return run_pretraining(choices, pretrain, speaker, resume)
    if choices.few_shot:
        from inference.training.own.few_shot import adapt

        return adapt(choices, speaker, resume)
    from inference.training.own.training import train as run_training

    return run_training(choices, speaker, resume)


def _install(package: Path, speaker: Speaker) -> None:
    from inference.training.own.install import install_package

    model = install_package(package)
    speaker.note(f"Installed as {model.card.id}.")


def recipe_changes(text: str) -> dict:
    """Changes of a recipe, as JSON on the command line.

    Raises
    ------
    BadInput
        Where it is no JSON table, names what is no part of a recipe, or gives it a value that it
        cannot have.
    """
    try:
        changes = json.loads(text) if text else {}
    except ValueError as error:
        raise BadInput("The changes of the recipe are no JSON") from error
    if not isinstance(changes, dict):
        raise BadInput("The changes of the recipe must be a table", advice=_KNOWN)
    for name, value in changes.items():
        if name not in _RECIPE:
            raise BadInput(f"A recipe has no '{name}'", advice=_KNOWN)
        right, wanted = _RECIPE[name]
        if not right(value):
            raise BadInput(f"'{name}' of the recipe must be {wanted}")
    return changes


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


#: Parts of a recipe: which values they can have, and that in words.
_RECIPE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "architecture": (lambda value: isinstance(value, str), "the name of an architecture"),
    "arguments": (lambda value: isinstance(value, dict), "a table"),
    "spacing_mm": (_number, "a number above 0"),
    "multiple": (_count, "a whole number above 0"),
    "patch": (_count, "a whole number above 0"),
    "batch": (_count, "a whole number above 0"),
    "rate": (_number, "a number above 0"),
    "classifies": (lambda value: isinstance(value, bool), "true or false"),
}
_KNOWN = f"Known: {', '.join(_RECIPE)}"
