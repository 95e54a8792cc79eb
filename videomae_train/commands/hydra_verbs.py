"""The verbs that take Hydra overrides: compose, then run. Torch and all above it are imported inside the job only.

So whoever asks for help or the configuration, or mistypes a key, has the answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from omegaconf import DictConfig

from videomae_train.config.loader import compose_config, run_composed
from videomae_train.config.places import check_given, quote_places
from videomae_train.config.sweep_request import asks_for_sweep, of_later_stages
from videomae_train.start_up import importing

HELP_FLAGS = frozenset({"--help", "-h"})


def run_hydra_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb with the arguments that stand behind it on the command line.

    Raises:
        ConfigError: The request was wrong.
        VideoMAETrainError: The run failed.
    """
    if HELP_FLAGS & set(arguments):
        from videomae_train.commands.help import print_help

        print_help(verb, arguments)
        return
    check_given(arguments)
    arguments = quote_places(arguments)
    if verb == "pretrain" and asks_for_sweep(arguments):
        with importing():
            from videomae_train.commands.sweep import run_sweep

        run_sweep(arguments)
        return
    if verb == "pretrain" and (unseen := of_later_stages(arguments)):
        print(f"Shown is the pretraining of the sweep, without {' '.join(unseen)}.", file=sys.stderr)
        arguments = [each for each in arguments if each not in unseen]
    if not any(argument.startswith("-") for argument in arguments):
        compose_config(verb, arguments)  # raises what Hydra's own command line would print less clearly
        if "launcher=slurm" in arguments:
            _check_before_submitting(verb, arguments)
    run_composed(verb, arguments, _JOBS[verb])


def _check_before_submitting(verb: str, arguments: Sequence[str]) -> None:
    """Find here, and not after hours in Slurm's queue, what the job would stop at.

    Raises:
        VideoMAETrainError: It could not run.
    """
    with importing():
        from videomae_train.config.slurm_queue import check_slurm_answers
        from videomae_train.config.sweep_recipes import check_stage

    check_slurm_answers()
    named = any(argument.startswith("run=") for argument in arguments)
    of_job = [
        argument
        for argument in arguments
        if argument.startswith("hydra.searchpath=")  # its own recipes may lie there
        or not argument.startswith(("launcher=", "hydra.", "hydra/"))
    ]
    check_stage(verb, [*of_job, *([] if named else ["run=not-known-yet"])])


def _pretrain(mapping: DictConfig) -> None:
    with importing():
        from videomae_train.commands.train import run_pretrain

    run_pretrain(mapping)


def _finetune(mapping: DictConfig) -> None:
    with importing():
        from videomae_train.commands.train import run_finetune

    run_finetune("finetune", mapping)


def _probe(mapping: DictConfig) -> None:
    if "knn" in mapping:
        with importing():
            from videomae_train.commands.neighbours import run_neighbours

        run_neighbours(mapping)
    else:
        with importing():
            from videomae_train.commands.train import run_finetune

        run_finetune("probe", mapping)


def _evaluate(mapping: DictConfig) -> None:
    with importing():
        from videomae_train.commands.evaluate import run_evaluate

    run_evaluate(mapping)


def _reconstruct(mapping: DictConfig) -> None:
    with importing():
        from videomae_train.commands.reconstruct import run_reconstruct

    run_reconstruct(mapping)


_JOBS: dict[str, Callable[[DictConfig], None]] = {
    "pretrain": _pretrain,
    "finetune": _finetune,
    "probe": _probe,
    "evaluate": _evaluate,
    "reconstruct": _reconstruct,
}
