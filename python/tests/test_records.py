"""The records have the keys of docs/json.md, and say what JSON cannot."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lookbehind import records

DOCS = Path(__file__).resolve().parents[2] / "docs" / "json.md"

FORMS: dict[str, type[Any]] = {
    "Job": records.JobInfo,
    "Results": records.Results,
    "Best": records.BestResult,
    "Step": records.Step,
    "Test": records.TestMetrics,
    "Time": records.Times,
    "Notice": records.Notice,
    "Checkpoint": records.Checkpoint,
    "Worker": records.WorkerInfo,
}


@pytest.mark.parametrize("section", FORMS)
def test_a_record_has_the_keys_of_the_documented_json(section: str) -> None:
    text = DOCS.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    documented = {key for key, where in rows if where.strip() != "HTTP"}
    assert {each.name for each in fields(FORMS[section])} == documented


def test_a_number_that_is_not_finite_is_nan() -> None:
    test = records.read(records.TestMetrics, {"loss": None, "accuracy": 0.5, "samples": 3})
    assert math.isnan(test.loss)
