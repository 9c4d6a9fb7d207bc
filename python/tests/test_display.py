"""How a job proceeds, for people."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import lookbehind

JobDict = dict[str, Any]


class ZMQInteractiveShell:
    """What a notebook runs in, by its name."""


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        """Shows something else."""
        assert raw
        self.shown.append(content["text/plain"])


def test_without_a_terminal_there_is_a_line_for_each_change(
    client: lookbehind.Client, digits: JobDict, capsys: pytest.CaptureFixture[str]
) -> None:
    job = client.submit(digits)
    assert job.progress().state == "succeeded"
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"{job.id} succeeded")
    assert any(f"outer step {job.info.outer_step}/{job.info.outer_step}" in line for line in said)


def test_on_a_terminal_one_line_is_drawn_anew(
    client: lookbehind.Client, digits: JobDict, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    client.submit(digits).progress()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("\n")
    assert said.count("\r\x1b[K") > 10


def test_in_a_notebook_the_output_of_the_cell_is_updated(
    client: lookbehind.Client, digits: JobDict, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    display.display = lambda content, *, raw, display_id: cell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    job = client.submit(digits)
    job.progress()
    assert cell.shown[-1].startswith(f"{job.id} succeeded")
    assert capsys.readouterr().err == ""


def test_a_training_shows_its_outer_steps(digits: JobDict, capsys: pytest.CaptureFixture[str]) -> None:
    result = lookbehind.train(digits, progress=True)
    steps = result.summary()["outer_steps"]
    assert f"outer step {steps}/{steps}" in capsys.readouterr().err


def test_the_files_of_a_training_without_a_folder_go_with_its_result(digits: JobDict) -> None:
    result = lookbehind.train(digits)
    folder = result.out
    assert (folder / "model.safetensors").exists()
    del result
    assert not folder.exists()
