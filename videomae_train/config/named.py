"""Classes of the user's own, by name."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from videomae_train.errors import ConfigError


def load_named(where: str, name: str) -> Any:
    """Import what `module:Name` names; modules in the folder where the command was given are found, too.

    Args:
        where: Key that the name is of, for errors.
        name: Such as "my_masks:BlockMask".

    Raises:
        ConfigError: There is no such module, or nothing of that name in it.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # a console script's path begins with its own folder
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            where=where,
            came=f"{name}: {error}",
            expected="module:Name, of a module that Python finds here",
            todo="Correct it, go to the module's folder, or put that into PYTHONPATH.",
        ) from error
