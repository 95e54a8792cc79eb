"""Where the YAML files are: inside the wheel, or at the top of a clone or an editable install."""

from __future__ import annotations

from pathlib import Path

from videomae_train.errors import ConfigError


def configs_folder() -> Path:
    """Return the absolute folder of the primary YAML files.

    An absolute path, since a relative `config_path` fails from the console script of a wheel.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "pretrain.yaml").is_file():
            return folder
    raise ConfigError(
        where=str(package),
        came="no configs/ beside or inside the package",
        expected="configs/pretrain.yaml",
        todo="Install the wheel again, or run from a complete clone.",
    )
