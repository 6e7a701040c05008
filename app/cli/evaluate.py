"""``isocenter evaluate``: how good an installed model is on cases with masks."""

from __future__ import annotations

from pathlib import Path

from app.cli.output import Output
from imaging.errors import BadInput


def evaluate(
    model: str, cases: Path, out: Path, output: Output, device: str = "auto", label: int = 0
) -> None:
    """Run the model on every case through the worker; print and write the report.

    Raises
    ------
    BadInput
        Where model or cases cannot be used, or the folder holds a report already.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM; there is no report then.
    """
    import sys

    from inference.registry import find_model
    from inference.training.own.evaluation import evaluate as measured
    from inference.training.own.progress import Speaker, Stopped
    from inference.training.own.words import WORDS

    if (out / "report.json").exists():
        raise BadInput("There is a report in this folder already", str(out), "Choose another")
    installed = find_model(model)
    speaker = Speaker(stream=sys.stderr)
    speaker.listen()
    try:
        content = measured(installed, cases, out, speaker, device=device, label=label)
    except Stopped:  # the program tells it as every other interruption
        raise KeyboardInterrupt from None
    output.say(f"{content['cases']} cases of {content['n']} patients")
    output.table(
        ("Figure", "Value", "95 % interval", "n"),
        [
            (words, f"{one['value']:.3g}", _interval(one), one["n"])
            for name, words in WORDS.items()
            if (one := content["new"].get(name)) is not None
        ],
    )
    output.say(f"  {out / 'report.md'}")
    output.result({key: content[key] for key in ("title", "n", "cases", "new", "subgroups")})


def _interval(figure: dict) -> str:
    if figure["low"] is None:
        return ""
    return f"{figure['low']:.3g} to {figure['high']:.3g}"
