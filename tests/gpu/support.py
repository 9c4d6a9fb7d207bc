"""What the scripts of this folder share: checks with their seconds, tables, and waits with a limit."""

import contextlib
import datetime
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """Something that was to happen did not; the message says what."""


class Skipped(Exception):
    """Something cannot be checked here; the message says why."""


# What a program that misbehaves leads to here: it must not end the other checks.
USUAL = (Failed, OSError, ValueError, LookupError, TypeError, ArithmeticError)


@dataclass
class Row:
    """A check: what was claimed, what came of it ("passed", "FAILED" or "skipped"), and what was found."""

    part: str
    claim: str
    result: str
    seconds: float
    found: str


class Report:
    """Prints checks as they end, counts them, and closes with a table."""

    def __init__(self):
        self.rows = []
        self.begun = time.monotonic()
        self.notes = []

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:7.1f} s] {text}", flush=True)

    def note(self, heading, table):
        """Something of more than a line that goes under the table: a heading, and rows of cells, the first its head."""
        self.notes.append((heading, table))
        print(f"\n{heading}\n\n{plain(table)}\n", flush=True)

    def add(self, row):
        """Takes a check and shows it."""
        self.rows.append(row)
        found = f": {row.found}" if row.found else ""
        self.say(f"{row.result:<7} {row.part} {row.claim} ({row.seconds:.1f} s){found}")

    @contextlib.contextmanager
    def check(self, part, claim):
        """Times what it surrounds and counts it: it holds unless something of the usual kinds is raised.

        Gives a list that takes what was found, in words.
        """
        self.say(f"        {part} {claim} …")
        begun, found, result = time.monotonic(), [], "passed"
        try:
            yield found
        except Skipped as reason:
            result, found = "skipped", [str(reason)]
        except USUAL as error:
            result, found = "FAILED", [*found, in_words(error)]
        self.add(Row(part, claim, result, time.monotonic() - begun, "; ".join(found)))

    def carry_out(self, part, checks, *arguments):
        """Calls some checks; what stops them outside of any counts as one that failed."""
        try:
            checks(*arguments)
        except USUAL as error:
            self.add(Row(part, "the checks can be carried out", "FAILED", 0.0, in_words(error)))

    def count(self, result):
        return sum(row.result == result for row in self.rows)

    def table(self):
        """All checks as rows of cells, the head first."""
        head = ["", "check", "result", "seconds", "found"]
        return [head, *([r.part, r.claim, r.result, f"{r.seconds:.1f}", r.found] for r in self.rows)]

    def closing(self):
        """The line that counts."""
        return f"{self.count('passed')} passed, {self.count('FAILED')} failed, {self.count('skipped')} skipped"

    def close(self, title, heading, table_file=None, json_file=None):
        """Prints the table plainly, writes it as Markdown, and gives the exit status.

        `heading` holds pairs of a label and a value. Without a file the Markdown is printed, too.
        """
        text = "\n".join([f"# {title}", "", *(f"- {label}: {value}" for label, value in heading), ""])
        body = [markdown(self.table())] + [f"\n## {name}\n\n{markdown(table)}" for name, table in self.notes]
        document = "\n".join([text, *body, "", self.closing(), ""])
        print("\n" + "\n".join(f"{label + ':':<12} {value}" for label, value in heading))
        print("\n" + plain(self.table()) + "\n")
        if table_file:
            Path(table_file).write_text(document, encoding="utf-8")
            print(f"The same in Markdown: {table_file}")
        else:
            print(document)
        if json_file:
            Path(json_file).write_text(json.dumps([asdict(row) for row in self.rows]), encoding="utf-8")
        print(self.closing(), flush=True)
        return 1 if self.count("FAILED") or not self.count("passed") else 0


def plain(table):
    """Rows of cells in columns; the last column runs free."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    lines = [[*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]] for row in table]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(table):
    """Rows of cells as a Markdown table."""
    cell = lambda text: text.replace("|", "\\|").replace("\n", " ")
    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def now():
    """Date and time for people, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def wait_for(what, probe, limit):
    """Asks `probe` until what it gives is true, and gives that; Failed with the last answer after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {limit:.0f} s; the last answer was {found!r}")
        time.sleep(0.05)


def clean_environment(**changes):
    """This process's environment without what would configure the programs, and with some changes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LOOKBEHIND_")}
    return {**kept, "NO_COLOR": "1", **{key: str(value) for key, value in changes.items()}}


def end_properly_on_signals():
    """Makes SIGTERM and SIGHUP an exception like Ctrl-C, so that processes and folders are cleared away."""

    def end(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def in_words(error):
    """What was wrong."""
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"


def one_line(text, most=300):
    """Text as one line that fits a table."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
