"""What the scripts of this folder share: counted checks, waits with a limit, and the command line tool."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Exit codes of the command line tool.
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4


class Failed(Exception):
    """Something that was to happen did not; the message says what."""


class Report:
    """Prints and counts what held and what did not."""

    def __init__(self):
        self.passed = self.failed = 0
        self.begun = time.monotonic()

    def elapsed(self):
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def say(self, text):
        print(f"[{self.elapsed():6.1f} s] {text}", flush=True)

    def check(self, claim, holds, found=""):
        """Counts a claim; one that does not hold is shown with what was found in its place."""
        if holds:
            self.passed += 1
            self.say(f"ok      {claim}")
        else:
            self.failed += 1
            self.say(f"FAILED  {claim}" + (f": {found}" if found != "" else ""))

    def close(self):
        """The closing line, and the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def wait_for(what, probe, limit=60.0):
    """Asks `probe` until what it gives is true, and gives that; Failed with the last answer after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {limit:.0f} s; the last answer was {found!r}")
        time.sleep(0.1)


def free_port():
    """A free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cli:
    """The command line tool, as a person with credentials calls it."""

    def __init__(self, binary, coordinator, credentials):
        self.binary = str(binary)
        self.remote = ["--coordinator", coordinator, "--credentials", str(credentials)]

    def attempt(self, *arguments, limit=300):
        """Exit status, lines of JSON, and what went to standard error."""
        command = [self.binary, "--json", *map(str, arguments), *self.remote]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOKBEHIND_")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line], done.stderr

    def call(self, *arguments, limit=300):
        """Lines of JSON; Failed where the command did not end well."""
        status, lines, errors = self.attempt(*arguments, limit=limit)
        if status != 0:
            raise Failed(f"lookbehind {' '.join(map(str, arguments))} ended with {status}: {errors.strip()}")
        return lines

    def answering(self, *arguments, limit=60):
        """As `call`, but repeated until there is an answer."""

        def probe():
            status, lines, errors = self.attempt(*arguments)
            if status == EXIT_UNREACHABLE:
                return None
            if status != 0:
                raise Failed(f"lookbehind {' '.join(map(str, arguments))} ended with {status}: {errors.strip()}")
            return lines

        return wait_for(f"lookbehind {arguments[0]}: a coordinator that answers", probe, limit)

    def job(self, job):
        """One job, as the protocol describes it."""
        return self.answering("job", job)[0]["job"]

    def workers(self):
        """The workers that the coordinator counts."""
        return self.answering("workers")[0]["workers"]


def tail(text, lines=40):
    """The end of a long text."""
    return "\n".join(text.splitlines()[-lines:])
