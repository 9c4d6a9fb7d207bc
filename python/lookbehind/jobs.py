"""Jobs as users give them, for the native part."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol, Union

from lookbehind._native import Source


class HasId(Protocol):
    """A job of a coordinator."""

    @property
    def id(self) -> str:
        """Its identity."""


JobLike = Union[str, "os.PathLike[str]", Mapping[str, Any], HasId]
"""A job: the path of a job file, its text (a str with a line break), a dict of its sections and keys, or a job of the
coordinator, whose specification is taken."""


def source(job: JobLike) -> Source:
    """The job for the native part. A None in a dict means that the key is not given."""
    if isinstance(job, Mapping):
        return Source.json(_json(_without_none(job)))
    if isinstance(job, str):
        return Source.toml(job) if "\n" in job else Source.file(job)
    if isinstance(job, os.PathLike):
        return Source.file(job)
    return Source.job(job.id)


def settings(overrides: Mapping[str, Any] | None) -> list[tuple[str, str | None]]:
    """Changed keys by their paths, with dots; None means that the default holds."""
    return [
        (key, None if value is None else _json(_without_none(value))) for key, value in (overrides or {}).items()
    ]


def pairs(labels: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Labels for the native part."""
    return list((labels or {}).items())


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """Paths and the scalars of numpy and PyTorch, as JSON has them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a job has no place for a {type(value).__name__}: {value!r}")
