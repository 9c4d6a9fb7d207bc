"""Why a call failed: one class for each exit code of the command line tool, with the words that the tool prints."""

from __future__ import annotations

from typing import ClassVar


class LookbehindError(Exception):
    """Something that a command would end with an exit code for."""

    exit_code: ClassVar[int]


class JobFailed(LookbehindError):
    """The job failed or was cancelled."""

    exit_code = 1


class InvalidJob(LookbehindError):
    """An invalid argument, or a job that is missing or invalid."""

    exit_code = 2


class Unreachable(LookbehindError):
    """No coordinator answers."""

    exit_code = 3


class Refused(LookbehindError):
    """The coordinator does not know the job, or refuses what was asked."""

    exit_code = 4


class OutputError(LookbehindError):
    """An output cannot be written, would overwrite other files, or arrived damaged."""

    exit_code = 5


class LocalFailure(LookbehindError):
    """This machine cannot do its part: the cluster of `train` did not start, or failed."""

    exit_code = 6


class RunsDiffer(LookbehindError):
    """The runs that were compared differ."""

    exit_code = 7


BY_EXIT_CODE: dict[int, type[BaseException]] = {
    **{kind.exit_code: kind for kind in LookbehindError.__subclasses__()},
    130: KeyboardInterrupt,
    141: BrokenPipeError,
}
"""The class for each exit code that is none of success."""


def of_exit_code(code: int, message: str) -> BaseException:
    """The exception for an exit code of the command line tool and the words that it prints."""
    return BY_EXIT_CODE[code](message)
