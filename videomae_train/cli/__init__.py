"""The `videomae` command: file verbs with ordinary options, training verbs with Hydra overrides.

Nothing heavy is imported before the verb is known.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from videomae_train.cli import bench, infer, sets, training, use
from videomae_train.errors import VideoMAETrainError


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

    pretrain, finetune, probe, evaluate and reconstruct take Hydra overrides (videomae pretrain model=base
    masking.ratio=0.95); `videomae VERB --help` lists recipes and choices, and says what every value means.
    """


for _verb in (
    *(training.pretrain, training.finetune, training.probe, training.evaluate),
    *(training.reconstruct, training.explain),
    *(sets.pack, sets.check, sets.index, sets.stage),
    *(infer.predict, infer.features, use.convert, use.report, use.demo),
    bench.bench,
):
    videomae.add_command(_verb)
