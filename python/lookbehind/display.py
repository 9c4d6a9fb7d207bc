"""How a job proceeds: one line that is drawn anew, on a terminal or below the cell of a notebook; plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from lookbehind.records import ConnectionLost, Event, JobEnded, Notice, Step


class Display:
    """The display of one job."""

    def __init__(self, job_id: str) -> None:
        self._id = job_id
        self._total = 0
        self._test = ""
        self._state = ""
        self._cell = _cell()
        self._is_terminal = self._cell is None and sys.stderr.isatty()
        self._is_drawn = False

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_drawn:
            print(file=sys.stderr)

    def show(self, event: Event) -> None:
        """Shows what has happened."""
        if isinstance(event, Step):
            if event.test is not None:
                self._test = f"  test {event.test.accuracy:.1%}"
            self._draw(self._line(event), is_milestone=event.test is not None or event.outer_step == self._total)
        elif isinstance(event, Notice):
            self._total = max(self._total, event.total_outer_steps)
            if event.state != self._state:
                self._state = event.state
                self._draw(_with(f"{self._id} {event.state}", event.message), is_milestone=True)
        elif isinstance(event, ConnectionLost):
            self._draw(f"connection lost, trying again: {event.reason}", is_milestone=True)
        elif isinstance(event, JobEnded):
            job = event.job
            self._draw(_with(f"{self._id} {job.state}", job.message) + self._test, is_milestone=True)

    def _line(self, step: Step) -> str:
        total = f"/{self._total}" if self._total else ""
        return (
            f"outer step {step.outer_step}{total}  epoch {step.epoch + 1}  "
            f"loss {step.loss:.4f}  accuracy {step.accuracy:.1%}{self._test}"
        )

    def _draw(self, line: str, *, is_milestone: bool) -> None:
        # What others wrote must not control the terminal.
        line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
        if self._cell is not None:
            self._cell.update({"text/plain": line}, raw=True)
        elif self._is_terminal:
            self._is_drawn = True
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif is_milestone:
            print(line, file=sys.stderr, flush=True)


def _with(line: str, message: str) -> str:
    return f"{line}: {message}" if message and not line.endswith(message) else line


def _cell() -> Any:
    """The output of a notebook's cell, which can be updated; None outside of notebooks."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
