"""`videomae explain`: a training command's values with their origins, what follows from them, and what it will cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from videomae_train.config.estimates import UTILISATION
from videomae_train.config.explain import VERBS, Explanation, Value, Verb, explain, infer_verb
from videomae_train.config.provenance import Origin
from videomae_train.config.run_cost import Cost

Rows = list[tuple[str, str, str]]
_CODE = Origin("default")


def run_explain(words: Sequence[str], *, num_videos: int | None, as_json: bool) -> None:
    """Print the explanation of a training command.

    Args:
        words: An optional verb, then Hydra overrides.
        num_videos: Videos of the selection, where the data set is not at hand.
        as_json: Print one JSON object instead of tables.

    Raises:
        ConfigError: The request was wrong, as the run itself would find it.
    """
    verb, overrides = split_verb(words)
    explanation = explain(verb, overrides, num_videos)
    if as_json:
        print(json.dumps(explanation_record(explanation), indent=1))
    else:
        _print_tables(explanation)


def split_verb(words: Sequence[str]) -> tuple[Verb, list[str]]:
    """Take the verb off the words, or tell it from the recipe's name.

    Raises:
        ConfigError: Neither is there.

    >>> split_verb(["finetune", "model=tiny"])
    ('finetune', ['model=tiny'])
    """
    for verb in VERBS:
        if words and words[0] == verb:
            return verb, list(words[1:])
    return infer_verb(words), list(words)


def explanation_record(explanation: Explanation) -> dict[str, Any]:
    """Give an explanation as plain values, for JSON."""
    cost = explanation.cost
    return {
        "verb": explanation.verb,
        "values": [
            {"key": value.key, "value": value.value, "from": asdict(value.origin)}
            for value in explanation.values
        ],
        "missing": list(explanation.missing),
        "derived": asdict(explanation.derived),
        "estimates": None if cost is None else _cost_record(explanation, cost),
    }


def _cost_record(explanation: Explanation, cost: Cost) -> dict[str, Any]:
    steps = explanation.derived.total_steps
    run_sec = None if cost.step_sec is None or steps is None else cost.step_sec * steps
    return {
        **asdict(cost),
        "memory_bytes": cost.memory.total,
        "disk_bytes": cost.disk.total,
        "utilisation": UTILISATION,
        "run_sec": run_sec,
    }


def _print_tables(explanation: Explanation) -> None:
    console = Console(highlight=False)
    console.print(_values_table(explanation))
    unnamed = [value for value in explanation.values if value.origin == _CODE]
    if unnamed:
        listed = ", ".join(f"{value.key} {_shown(value)}" for value in unnamed)
        console.print(f"In no file, so as the code has them: {listed}\n", markup=False, style="dim")
    for title, rows in (("What follows", _derived_rows(explanation)), ("Estimates", _cost_rows(explanation))):
        table = _new_table(title)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    if explanation.missing:
        todo = " ".join(f"{key}=..." for key in explanation.missing)
        console.print(f"[bold]Still to give:[/bold] {escape(todo)}")


def _new_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    for style in ("", "bold", "dim"):
        table.add_column(style=style, overflow="fold")
    return table


def _values_table(explanation: Explanation) -> Table:
    table = _new_table(f"videomae {explanation.verb}")
    named = [value for value in explanation.values if value.origin != _CODE]
    for part, group in groupby(named, key=lambda value: value.key.rpartition(".")[0]):
        values = list(group)
        if part:
            table.add_row(f"[bold]{part}[/bold]", "", _choosers(values))
        for value in values:
            name = value.key.rpartition(".")[2]
            table.add_row(f"  {name}" if part else name, escape(_shown(value)), escape(_source(value.origin)))
    return table


def _choosers(values: Sequence[Value]) -> str:
    """Say who chose a part's files, if it was not the verb's own defaults list."""
    chosen = {value.origin.chosen_by for value in values} - {None, "default"}
    return f"chosen by {' and '.join(sorted(map(str, chosen)))}" if chosen else ""


def _shown(value: Value) -> str:
    if value.value is None:
        return "the weights' own" if value.origin.kind == "derived" else "null"
    if isinstance(value.value, float):
        return f"{value.value:g}"
    return json.dumps(value.value).strip('"')


def _source(origin: Origin) -> str:
    """Name an origin shortly.

    >>> _source(Origin("group", "model/large.yaml", "recipe")), _source(Origin("recipe", "experiment/mine.yaml"))
    ('model/large', 'recipe mine')
    """
    if origin.file is None:
        return origin.kind
    if origin.kind == "recipe":
        return f"recipe {origin.file.partition('/')[2].removesuffix('.yaml')}"
    return origin.file if origin.kind == "default" else origin.file.removesuffix(".yaml")


def _derived_rows(explanation: Explanation) -> Rows:
    config, derived = explanation.config, explanation.derived
    optim = config.optim
    batch = optim.global_batch
    rows: Rows = [
        (
            "global batch",
            f"{batch} videos",
            _division(explanation),
        ),
        ("views per step", f"{derived.views_per_step}", f"{batch} videos x {config.data.views} view(s)"),
        (
            "effective learning rate",
            f"{derived.peak_lr:.6g}",
            f"{optim.base_lr:g} x {batch}/256, falling to {derived.floor_lr:.6g}; views do not count",
        ),
    ]
    rows += _length_rows(explanation)
    if derived.tokens is not None:
        beside = f", {derived.unscored} more in the decoder" if derived.unscored else ""
        seen = f"{derived.visible} seen by the encoder, {derived.decoded} reconstructed{beside}"
        rows.append(("tokens of a clip", f"{derived.tokens}", seen if derived.decoded else "all seen"))
    return rows


def _division(explanation: Explanation) -> str:
    derived = explanation.derived
    if explanation.config.trainer.micro_batch == "auto":
        return f"{derived.ranks} rank(s); the run searches for the micro batch, estimates have {derived.micro_batch}"
    return (
        f"{derived.ranks} rank(s) x micro batch {derived.micro_batch} x accumulation {derived.accumulation}"
    )


def _length_rows(explanation: Explanation) -> Rows:
    config, derived = explanation.config, explanation.derived
    optim = config.optim
    batch, views = optim.global_batch, config.data.views
    rows: Rows = []
    if derived.num_videos is None:
        rows.append(("videos", "N, not known", "give data.path=... or --videos N"))
    else:
        rows.append(("videos", f"{derived.num_videos:,}", "selected"))
    steps, formula = derived.total_steps, f"{optim.epochs:g} x N / {batch}" if optim.epochs else "optim.steps"
    rows.append(
        ("optimizer steps", formula if steps is None else f"{steps:,}", formula if steps is not None else "")
    )
    warmup = (
        f"{optim.warmup_epochs:g} x N / {batch}"
        if derived.warmup_steps is None
        else f"{derived.warmup_steps:,}"
    )
    rows.append(("steps of warm-up", warmup, ""))
    if steps is not None:
        samples, epochs = steps * batch, ""
        if derived.num_videos:
            epochs = f"{samples / derived.num_videos:.4g} epochs"
        rows.append(("samples", f"{samples:,} videos, {samples * views:,} views", epochs))
        if derived.visible is not None:
            rows.append(("tokens encoded", f"{samples * views * derived.visible:.3g}", ""))
    return rows


def _cost_rows(explanation: Explanation) -> Rows:
    cost, config = explanation.cost, explanation.config
    if cost is None:
        return [
            ("model", "not known", "give weights=..., or model=base and so on, to have its cost estimated")
        ]
    memory, disk = cost.memory, cost.disk
    views = explanation.derived.micro_batch * config.data.views
    average = f"average {_gib(memory.average)}, " if memory.average else ""
    rows: Rows = [
        ("parameters", f"{cost.counted.parameters:,}", ""),
        (
            "operations",
            f"{_flops(cost.flops_per_step)} per step",
            "matrix products, forward and backward",
        ),
        (
            "memory of a rank",
            _gib(memory.total),
            f"weights {_gib(memory.weights)}, gradients {_gib(memory.gradients)}, optimiser {_gib(memory.optimizer)}, "
            f"{average}{views} clips {_gib(memory.clips)}, activations {_gib(memory.activations)}",
        ),
    ]
    rows += _time_rows(explanation, cost)
    rows.append(
        (
            "disk",
            _gib(disk.total),
            f"{config.trainer.keep_checkpoints} + 1 checkpoints of {_gib(disk.checkpoint)}, "
            f"weights {_gib(disk.weights)}, and some MB of logs",
        )
    )
    return rows


def _time_rows(explanation: Explanation, cost: Cost) -> Rows:
    if cost.device is None or cost.step_sec is None:
        return [("time", "not estimated", "a GPU is asked for, and none is visible here")]
    device, steps = cost.device, explanation.derived.total_steps
    fits = "" if cost.memory.total < device.memory_bytes else "; too little: lower trainer.micro_batch"
    rate = f"{_flops(device.matmul_flops_per_sec)}/s measured x {UTILISATION} assumed"
    rows: Rows = [
        ("this machine", device.name, f"memory {_gib(device.memory_bytes)}{fits}"),
        ("time of a step", _duration(cost.step_sec), f"{rate}; without waiting for data"),
    ]
    if steps is not None:
        rows.append(("time of the run", _duration(cost.step_sec * steps), f"{steps:,} steps"))
    return rows


def _flops(operations: float) -> str:
    """Say a number of operations in a unit that suits it.

    >>> _flops(2.5e9), _flops(8.0e14)
    ('2.5 GFLOP', '800 TFLOP')
    """
    unit, size = ("TFLOP", 1e12) if operations >= 1e12 else ("GFLOP", 1e9)
    return f"{operations / size:,.4g} {unit}" if operations < 1e15 else f"{operations / 1e12:,.0f} TFLOP"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**27 else f"{num_bytes / 2**20:.1f} MiB"


def _duration(seconds: float) -> str:
    """Say a duration in the unit that suits it.

    >>> [_duration(seconds) for seconds in (0.25, 90, 9000, 1e6, 1e9)]
    ['0.25 s', '1.5 min', '2.5 h', '11.6 days', '31.7 years']
    """
    for unit, size in (("years", 365.25 * 86400), ("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"
