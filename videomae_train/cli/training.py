"""Verbs that train, score and picture: their arguments are Hydra overrides."""

from __future__ import annotations

import click

from videomae_train.training.preemption import end_with_parent
from videomae_train.training.requeue import ignore_warnings_outside_training

_HYDRA = {"ignore_unknown_options": True, "help_option_names": []}


def _run_hydra(verb: str, overrides: tuple[str, ...]) -> None:
    ignore_warnings_outside_training()  # before the imports, which take seconds
    end_with_parent()
    from videomae_train.commands.hydra_verbs import run_hydra_verb

    run_hydra_verb(verb, overrides)


@click.command(context_settings=_HYDRA, short_help="Pretrain by masked reconstruction.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def pretrain(overrides: tuple[str, ...]) -> None:
    """Pretrain a model on packed videos."""
    _run_hydra("pretrain", overrides)


@click.command(context_settings=_HYDRA, short_help="Fine-tune for classification.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def finetune(overrides: tuple[str, ...]) -> None:
    """Fine-tune a weights folder, or train from scratch, on labelled videos."""
    _run_hydra("finetune", overrides)


@click.command(context_settings=_HYDRA, short_help="Say what frozen features are worth.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def probe(overrides: tuple[str, ...]) -> None:
    """Train a linear or attentive head on a frozen encoder, or let the nearest training videos vote."""
    _run_hydra("probe", overrides)


@click.command(context_settings=_HYDRA, short_help="Score a classifier, several views per video.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def evaluate(overrides: tuple[str, ...]) -> None:
    """Score a fine-tuned weights folder on labelled videos."""
    _run_hydra("evaluate", overrides)


@click.command(context_settings=_HYDRA, short_help="Picture what a pretrained model reconstructs.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def reconstruct(overrides: tuple[str, ...]) -> None:
    """Write a strip and a looping picture of one video's reconstruction."""
    _run_hydra("reconstruct", overrides)


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Say what a training command would do and cost.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[pretrain|finetune|probe] OVERRIDES...")
@click.option(
    "--videos", type=click.IntRange(min=1), metavar="N", help="Videos of the set, where it is not at hand."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(words: tuple[str, ...], videos: int | None, as_json: bool) -> None:
    """Print every value of a training command with where it comes from, what follows from the values, and estimates
    of memory, time and disk for this machine. Nothing is written.

    A recipe's name tells the verb: `videomae explain experiment=pretrain_vitb_k400 --videos 240436`.
    """
    from videomae_train.commands.explain import run_explain

    run_explain(words, num_videos=videos, as_json=as_json)
