"""The verbs ``train`` and ``evaluate`` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import Output
from imaging.errors import BadInput

_OUT = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")]
_DEVICE = Annotated[
    str,
    typer.Option("--device", metavar="auto|cuda|cpu", help="auto: the GPU where there is one."),
]
_LABEL = Annotated[
    int,
    typer.Option("--label", metavar="N", help="Value of the masks that counts; 0: any but 0."),
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
            help="A list with the columns image, mask and (where known) patient, t1, t2, "
            "subgroup; or a folder of images and masks.",
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
        typer.Option(
            "--folds", metavar="N", help="So often patients are held back; 0: no figures."
        ),
    ] = 5,
    loss: Annotated[
        str,
        typer.Option(
            "--loss",
            metavar="dice-ce|focal|tversky",
            help="tversky: missing a small thing is worse than marking too much.",
        ),
    ] = "dice-ce",
    optimiser: Annotated[
        str, typer.Option("--optimizer", metavar="adamw|sgd", help="How the weights follow.")
    ] = "adamw",
    steps: Annotated[
        int,
        typer.Option(
            "--steps", metavar="N", help="Of each run, instead of --minutes.", show_default=False
        ),
    ] = 0,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes",
            metavar="M",
            help="Of all runs (folds and one more) together; 30 where nothing is said, 120 steps a "
            "run with --few-shot.",
            show_default=False,
        ),
    ] = 0.0,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", help="With --steps: the same seed, the same weights."),
    ] = 0,
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
            "--few-shot",
            help="Adapt the model of --from to 2 to 20 corrected cases; refused where the new one "
            "is not better than the old one.",
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
    id: Annotated[
        str,
        typer.Option(
            "--id", metavar="ID", help="Of the new model: small letters, digits and dashes."
        ),
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="TEXT", help="Of the new model, in lists.")
    ] = "",
    recipe: Annotated[
        str,
        typer.Option("--recipe", metavar="JSON", help="Other numbers: patch, batch, rate ..."),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where it was stopped, with the same options.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look at the cases.")] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Put the new model among yours at the end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Train a model with your own cases, adapt an installed one, or pretrain without masks.

    Begin with --check. Ctrl-C keeps what was learned, and the same command with --resume goes on.
    Read DIR/report.md before the model is used.
    """
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
