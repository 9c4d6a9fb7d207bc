"""What deploy/README.md describes besides training: the tool in a container, users, certificates, more machines."""

import io
import ssl
import subprocess
import tarfile

from cluster import COMPOSE_FILE, command, compose_program
from faults import DIGITS
from support import EXIT_REFUSED, Cli, Failed, wait_for

# The user of the containers, who must be able to read what they mount.
CONTAINER_USER = 10001


def copied_out(cluster, service, folder, name):
    """Brings a folder out of a volume, as the README does: by tar in a container, onto this machine."""
    program = [*compose_program(), "-f", str(COMPOSE_FILE)]
    packed = subprocess.run(
        [*program, "run", "--rm", "-T", "--entrypoint", "tar", service, "-C", folder, "-cf", "-", name],
        capture_output=True,
        timeout=120,
        env=cluster.environment,
        check=False,
    )
    if packed.returncode != 0:
        raise Failed(f"tar of {folder}/{name} ended with {packed.returncode}: {packed.stderr.decode(errors='replace')}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(cluster.scratch / "out", filter="data")
    return cluster.scratch / "out" / name


def check(cluster, report, summary):
    """The tool in a container, a new user, new certificates."""
    check_tool(cluster, report, summary)
    check_user(cluster, report, summary)
    check_rotation(cluster, report)


def check_tool(cluster, report, summary):
    job = summary["job_id"]
    listed = cluster.compose("run", "--rm", "-T", "cli", "jobs")
    report.check("`compose run cli jobs` lists the job", job in listed, listed)
    cluster.compose("run", "--rm", "-T", "cli", "fetch", job, "--out", "/results/digits")
    fetched = copied_out(cluster, "cli", "/results", "digits") / "model.safetensors"
    same = fetched.read_bytes() == (cluster.scratch / "digits/model.safetensors").read_bytes()
    report.check("and what it fetches is the same model", same)


def check_user(cluster, report, summary):
    cluster.compose("run", "--rm", "certs", "--user", "alice")
    alice = Cli(cluster.binaries / "lookbehind", cluster.address(), copied_out(cluster, "certs", "/certs", "alice"))
    report.check("a new user can call without a restart", alice.answering("jobs"))
    status, _, words = alice.attempt("cancel", summary["job_id"])
    report.check("and is refused another's job", status == EXIT_REFUSED, f"exit status {status}: {words}")


def check_rotation(cluster, report):
    place = ("localhost", cluster.ports["http"])
    coordinator = cluster.the("coordinator")
    started, shown = cluster.inspect(coordinator)["State"]["StartedAt"], ssl.get_server_certificate(place)
    cluster.compose("run", "--rm", "--entrypoint", "rm", "certs", "/certs/coordinator/cert.pem")
    cluster.compose("run", "--rm", "certs")
    wait_for("the coordinator shows its new certificate", lambda: ssl.get_server_certificate(place) != shown)
    report.check(
        "a new certificate is shown without a restart", cluster.inspect(coordinator)["State"]["StartedAt"] == started
    )
    report.check("and callers go on", len(cluster.cli.workers()) == 2)


def check_other_machine(cluster, report, digest):
    """Workers of compose.worker.yaml on another network, which reach the coordinator by its published port alone. Returns
    the folder of their credentials."""
    gateway = cluster.gateway()
    cluster.environment |= {"LOOKBEHIND_BIND": gateway, "LOOKBEHIND_HOST": gateway}
    cluster.host = gateway
    cluster.compose("up", "--detach", "--scale", "worker=0")
    cluster.admin().answering("jobs")
    cluster.compose("run", "--rm", "certs", "--worker", "elsewhere")
    folder = copied_out(cluster, "certs", "/certs", "elsewhere")
    for path in (folder, *folder.iterdir()):
        command("chown", f"{CONTAINER_USER}:{CONTAINER_USER}", path)
    cluster.elsewhere("up", "--detach", "--scale", "worker=2", credentials=folder)
    wait_for("two workers from elsewhere", lambda: len(cluster.cli.workers()) == 2)
    found = cluster.cli.call("submit", DIGITS, "--watch")[-1]["summary"]["digest"]
    report.check("workers of compose.worker.yaml come to the same digest", found == digest, f"{found}, not {digest}")
    cluster.elsewhere("down", "--volumes")
    return folder
