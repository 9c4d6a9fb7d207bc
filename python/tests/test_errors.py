"""One class for each exit code, with the words that the command prints."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT, Cluster, command, free_port

import lookbehind
from lookbehind import _native, errors

JobDict = dict[str, Any]


def printed(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of a command, and what it says on standard error."""
    done = subprocess.run([command("lookbehind"), *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    return done.returncode, done.stderr.strip().removeprefix("error: ")


def test_every_exit_code_has_a_class() -> None:
    assert set(errors.BY_EXIT_CODE) == set(_native.exit_codes()) - {0}


def test_nobody_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(lookbehind.Unreachable) as unreachable:
        lookbehind.Client(url).jobs()
    assert (unreachable.value.exit_code, str(unreachable.value)) == printed("jobs", "--coordinator", url)


def test_an_unknown_job_is_refused(cluster: Cluster) -> None:
    with pytest.raises(lookbehind.Refused) as refused:
        cluster.client().job("j00000000")
    assert (refused.value.exit_code, str(refused.value)) == printed("job", "j00000000", *cluster.options())


def test_a_job_that_was_cancelled_is_told_as_by_the_command(idle: lookbehind.Client, digits: JobDict) -> None:
    job = idle.submit(digits)
    job.cancel()
    with pytest.raises(lookbehind.JobFailed) as failed:
        job.wait()
    code, said = printed("watch", job.id, "--coordinator", idle.url)
    assert (failed.value.exit_code, f"error: {failed.value}") == (code, said.splitlines()[-1])


def test_a_job_with_an_impossible_value_is_named_with_its_key(digits: JobDict, tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    run = lookbehind.train(digits, {"train.epochs": 1})
    file.write_text((run.out / "job.toml").read_text())
    client = lookbehind.Client(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(lookbehind.InvalidJob) as invalid:
        client.submit(file, {"train.batch_size": 0})
    said = printed("submit", file, "--set", "train.batch_size=0")
    assert (invalid.value.exit_code, str(invalid.value)) == said
    assert "train.batch_size" in str(invalid.value)


@pytest.mark.parametrize(
    ("job", "overrides", "expected"),
    [
        ({"name": "x", "surprise": 1}, {}, "surprise"),
        ({"name": "x"}, {"": 1}, "overrides"),
        ({"name": 2**70}, {}, "job: "),
        ("no/such/file.toml", {}, "no/such/file.toml: cannot be read"),
    ],
)
def test_what_cannot_be_a_job_is_refused_here(job: Any, overrides: JobDict, expected: str) -> None:
    with pytest.raises(lookbehind.InvalidJob, match=expected):
        lookbehind.Client().submit(job, overrides)


def test_what_no_job_has_a_place_for_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="complex"):
        lookbehind.Client().submit({"name": 1j})


def test_a_malformed_identity_is_told_here() -> None:
    with pytest.raises(lookbehind.InvalidJob, match="eight lower-case letters or digits"):
        lookbehind.Client().job("nonsense")


def test_another_users_job_and_a_stranger_are_refused(
    credentials: Path, tmp_path: Path, digits: JobDict
) -> None:
    cluster = Cluster(tmp_path, credentials)
    try:
        cluster.start()
        job = cluster.client().submit(digits)
        with pytest.raises(lookbehind.Refused):
            lookbehind.Client(cluster.url, credentials / "bob").job(job.id)
        with pytest.raises(lookbehind.Refused):
            lookbehind.Client(cluster.url).jobs()
    finally:
        cluster.close()


def test_the_environment_names_coordinator_and_credentials(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBEHIND_COORDINATOR", cluster.url)
    if cluster.credentials is not None:
        monkeypatch.setenv("LOOKBEHIND_CREDENTIALS", str(cluster.credentials / "alice"))
    client = lookbehind.Client()
    assert client.url == cluster.url
    client.jobs()


def test_files_of_others_are_not_overwritten(digits: JobDict, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    with pytest.raises(lookbehind.OutputError, match="precious"):
        lookbehind.train(digits, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_cluster_needs_a_worker(digits: JobDict) -> None:
    with pytest.raises(lookbehind.InvalidJob, match="workers: expected 1 to 64, found 0"):
        lookbehind.train(digits, workers=0)


def test_a_job_that_fails_in_this_process_is_told(digits: JobDict) -> None:
    with pytest.raises(lookbehind.JobFailed, match="no_such_model"):
        lookbehind.train({**digits, "model": {"kind": "no_such_model"}})
