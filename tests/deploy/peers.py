"""Workers of compose.worker.yaml with compose.peers.yaml, as on two further machines that reach each other."""

import re
import urllib.parse

from cluster import MACHINES, WORKER_FILE, command, compose_program
from faults import DIGITS, trained_in_the_image
from monitoring import get
from support import REPOSITORY, free_port, wait_for

PEERS_FILE = REPOSITORY / "deploy/compose.peers.yaml"


def compose(cluster, machine, *arguments, credentials="/nowhere", port=7171, check=True):
    """`docker compose -f compose.worker.yaml -f compose.peers.yaml …`, as on one of the machines."""
    environment = {
        **cluster.environment,
        "COMPOSE_PROJECT_NAME": machine,
        "LOOKBEHIND_COORDINATOR": cluster.address(),
        "LOOKBEHIND_CREDENTIALS": str(credentials),
        "LOOKBEHIND_ADVERTISE": cluster.host,
        "LOOKBEHIND_PEERS_PORT": str(port),
    }
    program = [*compose_program(), "-f", WORKER_FILE, "-f", PEERS_FILE]
    return command(*program, *arguments, limit=180, check=check, environment=environment)


def wide_job(cluster):
    """The digits job with a model that is large enough for its workers to exchange with each other, for one epoch."""
    text = re.sub(r"^epochs = \d+$", "epochs = 1", DIGITS.read_text(), flags=re.MULTILINE)
    text = text.replace("hidden = [256, 128]", "hidden = [1024, 1024]").replace('name = "digits"', 'name = "digits-wide"')
    folder = cluster.scratch / "peers"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    job = folder / "wide.toml"
    # Both workers are there from the first outer step on.
    job.write_text(text + "\n[resources]\nmin_workers = 2\n")
    return job


def gradients(cluster, way):
    """Gradients whose partials came together in this way, as Prometheus has seen it."""
    query = urllib.parse.urlencode({"query": f'sum(lookbehind_exchanges_total{{way="{way}"}})'})
    answer = get(f"http://127.0.0.1:{cluster.ports['prometheus']}/api/v1/query?{query}") or {}
    result = answer.get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if result else 0.0


def check(cluster, report, credentials):
    """Two machines with a worker each: they exchange with each other, and come to the same digest."""
    for machine in MACHINES:
        compose(cluster, machine, "up", "--detach", credentials=credentials, port=free_port())
    wait_for("a worker of each machine", lambda: len(cluster.cli.workers()) == len(MACHINES))
    job = wide_job(cluster)
    before = gradients(cluster, "workers")
    found = cluster.cli.call("submit", job, "--watch")[-1]["summary"]["digest"]
    expected = trained_in_the_image(cluster, job)
    report.check("workers of compose.peers.yaml come to the digest of `lookbehind train`", found == expected, found)
    wait_for("gradients that went between the machines", lambda: gradients(cluster, "workers") > before)
    report.check("and exchange with each other", True)
    down(cluster)


def down(cluster):
    """Takes away the machines' containers, networks and volumes."""
    for machine in MACHINES:
        compose(cluster, machine, "down", "--volumes", check=False)
