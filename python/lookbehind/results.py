"""What a job ends with: metrics, pictures of them, weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MODEL = "model.safetensors"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"


def finite(value: Any) -> Any:
    """JSON in which NaN stands for what it has no number for: absent keys are left out there, and never null."""
    if value is None:
        return math.nan
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return value


def summary(text: str) -> dict[str, Any]:
    """A summary from its JSON; what it has no value for is None."""
    content: dict[str, Any] = json.loads(text)
    return content


def frame(steps: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """Outer steps as rows, by their number. Inner objects become columns such as `test.accuracy`."""
    import pandas

    rows = pandas.json_normalize(list(steps), sep=".")
    return rows.set_index("outer_step") if len(rows) else rows


def plot(steps: Sequence[dict[str, Any]], title: str) -> Figure:
    """Loss above, accuracy below: of the batches, and of the tests where there were some."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subplots(2, sharex=True)
    tests = [step for step in steps if "test" in step]
    for axis, key in zip(axes, ("loss", "accuracy")):
        axis.plot([step["outer_step"] for step in steps], [step[key] for step in steps], label="batch", linewidth=1)
        if tests:
            values = [step["test"][key] for step in tests]
            axis.plot([step["outer_step"] for step in tests], values, label="test", marker=".")
        axis.set_ylabel(key)
        axis.legend()
    axes[0].set_title(title)
    axes[1].set_xlabel("outer step")
    return figure


def reader(framework: str) -> Callable[[Path], dict[str, Any]]:
    """What reads a model file for a framework: "numpy" or "torch"."""
    if framework == "numpy":
        from safetensors.numpy import load_file as load_numpy

        return load_numpy
    if framework == "torch":
        from safetensors.torch import load_file as load_torch

        return load_torch
    raise ValueError(f'framework: expected "numpy" or "torch", found {framework!r}')
