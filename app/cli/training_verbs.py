"""The verbs ``train`` and ``evaluate`` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import Output
from imaging.errors import BadInput

_OUT = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")]
_DEVICE = Annotated[str, typer.Option("--device", metavar="auto|cuda|cpu")]
_LABEL = Annotated[
    int, typer.Option("--label", metavar="N", help="Value of the masks that counts; 0: any.")
]


def add_training_verbs(program: typer.Typer) -> None:
    """Give the command line its verbs for training and measuring."""
    program.command("train")(_train)
    program.command("evaluate")(_evaluate)


def _train(
    out: _OUT,
    cases: Annotated[
        Path | None,
        typer.Option(
            "--cases",
            metavar="CSV|DIR",
            help="A list with the columns image and mask, or a folder of images and masks.",
        ),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            "--network",
            metavar="NAME",
            help="basic-unet, attention-unet, residual, unet; resnet or densenet answer yes or no.",
        ),
    ] = "basic-unet",
    dims: Annotated[
        str, typer.Option("--dims", metavar="3|2.5", help="2.5: planes with their neighbours.")
    ] = "3",
    folds: Annotated[
        int,
        typer.Option("--folds", metavar="N", help="Of the cross-validation by patient; 0: none."),
    ] = 5,
    loss: Annotated[str, typer.Option("--loss", metavar="dice-ce|focal|tversky")] = "dice-ce",
    optimiser: Annotated[str, typer.Option("--optimizer", metavar="adamw|sgd")] = "adamw",
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Of each run.")] = 0,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="Of all runs together; usually 30.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N")] = 0,
    sequence: Annotated[
        str, typer.Option("--sequence", metavar="NAME", help="What the images are, if not said.")
    ] = "",
    start_from: Annotated[
        str,
        typer.Option("--from", metavar="MODEL", help="Id or folder of a model, or a pretraining."),
    ] = "",
    few_shot: Annotated[
        bool,
        typer.Option(
            "--few-shot", help="Adapt --from to a few corrected cases; promotes it or refuses."
        ),
    ] = False,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", metavar="CSV|DIR", help="Further cases that only judge."),
    ] = None,
    pretrain: Annotated[
        Path | None,
        typer.Option("--pretrain", metavar="DIR", help="Learn from these images without masks."),
    ] = None,
    label: _LABEL = 0,
    device: _DEVICE = "auto",
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", help="0: all cores but one.")
    ] = 0,
    id: Annotated[str, typer.Option("--id", metavar="ID", help="Of the new model.")] = "",
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Of the new model.")] = "",
    recipe: Annotated[
        str,
        typer.Option("--recipe", metavar="JSON", help="Other numbers: patch, batch, rate ..."),
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look at the cases.")] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Put the new model among yours at the end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Train a model with your own cases, adapt an installed one, or pretrain without masks."""
    from app.cli.train import recipe_changes, train
    from inference.training.own.choices import Choices

    if (cases is None) == (pretrain is None):
        raise typer.BadParameter("Give either --cases or --pretrain")
    choices = Choices(
        cases=str(cases or pretrain),
        out=str(out),
        network=network,
        dims=dims,
        folds=folds,
        loss=loss,
        optimiser=optimiser,
        steps=steps,
        minutes=minutes,
        seed=seed,
        sequence=sequence,
        start_from=start_from,
        few_shot=few_shot,
        held_out=str(held_out or ""),
        label=label,
        device=device,
        threads=threads,
        id=id,
        name=name,
        changes=recipe_changes(recipe),
    )
    code = train(
        choices, as_json=as_json, resume=resume, check=check, pretrain=pretrain, install=install
    )
    if code:
        raise typer.Exit(code)


def _evaluate(
    model: Annotated[str, typer.Option("--model", metavar="ID", help="See 'isocenter models'.")],
    cases: Annotated[
        Path, typer.Option("--cases", metavar="CSV|DIR", help="As for train; with masks.")
    ],
    out: _OUT,
    device: _DEVICE = "auto",
    label: _LABEL = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure an installed model on cases with masks, and write a report."""
    from app.cli.evaluate import evaluate

    if not cases.exists():
        raise BadInput("There is no such list or folder of cases", str(cases))
    evaluate(model, cases, out, Output(as_json), device, label)
