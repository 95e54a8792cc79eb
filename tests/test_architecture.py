"""The direction of imports, read from the source; see docs/design.md, "The way of the data"."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "videomae_train"

# Which parts a part may import, beside itself.
ROOTS = {"errors", "types", "randomness", "start_up", "processes", "child_ranks"}
LEAVES = {"data", "masking", "model", "optim", "pictures"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "randomness": set(),
    "start_up": set(),
    "processes": set(),
    "child_ranks": {"errors"},
    **dict.fromkeys(LEAVES, ROOTS),
    "evaluation": ROOTS | LEAVES,
    "inference": ROOTS | LEAVES | {"evaluation"},
    "training": ROOTS | LEAVES | {"evaluation"},
    "reporting": ROOTS | LEAVES | {"evaluation", "training"},
    "config": ROOTS | LEAVES | {"evaluation", "training", "reporting"},
    "benchmarks": ROOTS | LEAVES | {"evaluation", "training", "reporting"},
    "commands": ROOTS | LEAVES | {"evaluation", "training", "reporting", "inference", "config", "benchmarks"},
    "cli": ROOTS
    | LEAVES
    | {"evaluation", "training", "reporting", "inference", "config", "benchmarks", "commands"},
    "__init__": set(),
}
# Which parts may import a library; the others may not.
OWNERS: dict[str, set[str]] = {
    "hydra": {"config"},
    "omegaconf": {"config", "commands"},
    "wandb": {"training"},
    "webdataset": {"data"},
    "transformers": {"benchmarks"},
    "pydantic": {"config", "commands"},
    "click": {"cli"},
}


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file} imports relatively"
            yield node.module


def part_of(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def offences(file: Path) -> list[str]:
    part = part_of(file)
    found: list[str] = []
    for name in imports_of(file):
        top, _, rest = name.partition(".")
        if top == "videomae_train" and rest:
            target = rest.split(".")[0]
            if target != part and target not in ALLOWED[part]:
                found.append(f"{file.relative_to(PACKAGE)} imports {name}")
        elif part not in OWNERS.get(top, {part}):
            found.append(f"{file.relative_to(PACKAGE)} imports {name}")
    return found


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_imports__go_one_way(file: Path) -> None:
    assert offences(file) == []


def defined_in(tree: ast.Module) -> set[str]:
    """List the names that a module makes itself, at its top."""
    assigned = [
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {node.id for node in assigned} | {node.name for node in defined}


def test_imports__are_from_where_a_name_is_made() -> None:
    """A package offers its parts' names; a module that passes on another's hides where they are."""
    modules = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(file.read_text())
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py"
    }
    made = {name: defined_in(tree) for name, tree in modules.items()}
    passed_on = [
        f"{name} imports {alias.name} from {node.module}"
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in made
        for alias in node.names
        if alias.name not in made[node.module]
    ]
    assert passed_on == []


def test_imports__every_part_is_known() -> None:
    parts = {part_of(file) for file in PACKAGE.rglob("*.py")}
    assert parts <= set(ALLOWED), "a new part needs its place in the import table"


def test_imports__every_library_is_declared() -> None:
    """What comes with another package today may not come with it tomorrow."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    declared = {
        re.split(r"[\[<>=]", line)[0] for wanted in (project["dependencies"], *extras) for line in wanted
    }
    # Parts of declared packages by names of their own, and a contender that is measured where it is installed.
    declared |= {"lightning-utilities", "pydantic-core", "transformers"}
    of_modules = packages_distributions()
    modules = {name.partition(".")[0] for file in PACKAGE.rglob("*.py") for name in imports_of(file)}
    libraries = modules - set(sys.stdlib_module_names) - {"videomae_train"}
    undeclared = {
        name
        for name in libraries
        if not declared & {owner.lower().replace("_", "-") for owner in of_modules.get(name, [])}
    }
    assert undeclared == set()


def test_children_that_decode__import_nothing_heavy() -> None:
    """A child is replaced after each crash; torch alone would cost seconds each time."""
    code = "import sys, videomae_train.data.inspection; print(sorted({'torch', 'timm', 'rich'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
