"""The `videomae` command: file verbs with ordinary options, training verbs with Hydra overrides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from videomae_train.errors import VideoMAETrainError

_HYDRA = {"ignore_unknown_options": True, "help_option_names": []}


def main() -> NoReturn:
    """Run the command line; a user's mistake or a run's failure is one message and an exit code, no traceback."""
    try:
        videomae.main(standalone_mode=False)
    except VideoMAETrainError as error:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    sys.exit(0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="videomae-train")
def videomae() -> None:
    """Pretrain video transformers by masked reconstruction, fine-tune and evaluate them.

    pretrain, finetune, evaluate and reconstruct take Hydra overrides (videomae pretrain model=base
    masking.ratio=0.95); `videomae VERB --help` lists their groups, `videomae VERB --cfg job` prints the whole
    configuration.
    """


def _run_hydra(verb: str, overrides: tuple[str, ...]) -> None:
    from videomae_train.commands.hydra_verbs import run_hydra_verb

    run_hydra_verb(verb, overrides)


@videomae.command(context_settings=_HYDRA, short_help="Pretrain by masked reconstruction.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def pretrain(overrides: tuple[str, ...]) -> None:
    """Pretrain a model on packed videos."""
    _run_hydra("pretrain", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Fine-tune for classification.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def finetune(overrides: tuple[str, ...]) -> None:
    """Fine-tune a weights folder, or train from scratch, on labelled videos."""
    _run_hydra("finetune", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Score a classifier, several views per video.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def evaluate(overrides: tuple[str, ...]) -> None:
    """Score a fine-tuned weights folder on labelled videos."""
    _run_hydra("evaluate", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Picture what a pretrained model reconstructs.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def reconstruct(overrides: tuple[str, ...]) -> None:
    """Write a strip and a looping picture of one video's reconstruction."""
    _run_hydra("reconstruct", overrides)


@videomae.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--splits",
    type=click.Path(path_type=Path),
    help="Folder of the official UCF101 lists (trainlist01.txt, testlist01.txt ...); they become columns of the set.",
)
@click.option("--shard-videos", default=1000, show_default=True, help="Largest number of videos in a shard.")
@click.option("--shard-mib", default=512, show_default=True, help="Largest size of a shard.")
@click.option("--processes", default=1, show_default=True, help="Processes that probe the videos.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order in which videos fill shards.")
@click.option("--overwrite", is_flag=True, help="Replace a set that already stands in DESTINATION.")
def pack(
    source: Path,
    destination: Path,
    splits: Path | None,
    shard_videos: int,
    shard_mib: int,
    processes: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Pack videos into shards with an index.

    SOURCE is a folder of class folders, or a CSV file with the columns path and label. With --splits it is a folder
    in the UCF101 layout.
    """
    from videomae_train.commands.pack import run_pack
    from videomae_train.data.packing import PackOptions

    run_pack(
        source,
        destination,
        splits=splits,
        options=PackOptions(seed, shard_videos, shard_mib * 2**20, processes, overwrite),
    )


@videomae.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to write."
)
@click.option(
    "--short", is_flag=True, help="A minute instead of five: shows that the chain runs, not that it learns."
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the videos, the selections and the training."
)
def demo(out: Path, short: bool, seed: int) -> None:
    """Run the main job on generated videos and write a report page."""
    from videomae_train.commands.demo import run_demo

    run_demo(out, short=short, seed=seed)


if __name__ == "__main__":
    main()
