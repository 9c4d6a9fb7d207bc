"""What docs/python.md says to type works."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Cluster

import lookbehind

DOCS = Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def block(of: str) -> str:
    """The one block of code with a text in it."""
    (found,) = [block for block in BLOCKS if of in block]
    return str(found)


def test_the_tutorial(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKBEHIND_COORDINATOR", cluster.url)
    if cluster.credentials is not None:
        monkeypatch.setenv("LOOKBEHIND_CREDENTIALS", str(cluster.credentials / "alice"))
    names: dict[str, Any] = {}
    exec(block("client.submit({"), names)
    assert (tmp_path / "digits.png").stat().st_size > 0
    assert (tmp_path / "out" / "digits" / "summary.json").exists()
    exec(block("for event in job.watch():\n    match"), names)
    names["lookbehind"] = lookbehind
    exec(block("async def digest"), names)

    async def asked() -> str:
        job = await lookbehind.AsyncClient().job(names["job"].id)
        return str(await names["digest"](job))

    assert asyncio.run(asked()) == names["job"].info.digest


def test_every_name_of_the_package_is_documented() -> None:
    text = DOCS.read_text()
    # What others are made of: their fields are those of docs/json.md.
    parts = {"BestResult", "Event", "LookbehindError", "Results", "TestMetrics", "Times", "__version__"}
    assert [name for name in lookbehind.__all__ if name not in parts and name not in text] == []


@pytest.mark.parametrize("kind", [lookbehind.Client, lookbehind.Job])
def test_every_method_is_documented(kind: type[Any]) -> None:
    methods = [name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")]
    text = DOCS.read_text()
    assert [name for name in methods if f"`{name}(" not in text] == []


@pytest.mark.parametrize(("kind", "twin"), [(lookbehind.Client, lookbehind.AsyncClient), (lookbehind.Job, lookbehind.AsyncJob)])
def test_what_can_be_called_can_be_awaited(kind: type[Any], twin: type[Any]) -> None:
    names = {name for name in vars(kind) if not name.startswith("_")}
    assert names - set(vars(twin)) <= {"progress", "to_frame", "plot"}
