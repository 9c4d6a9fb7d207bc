"""A cluster of deploy/compose.yaml under a name, ports and image tags of its own, next to other clusters."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from support import REPOSITORY, Cli, Failed, free_port, tail, wait_for

COMPOSE_FILE = REPOSITORY / "deploy/compose.yaml"
WORKER_FILE = REPOSITORY / "deploy/compose.worker.yaml"
PROJECT = "lookbehind-test"
# The project of the workers that stand for those of another machine.
ELSEWHERE = f"{PROJECT}-elsewhere"
# The projects of two more machines, whose workers reach each other.
MACHINES = (f"{PROJECT}-peer-1", f"{PROJECT}-peer-2")


def command(*arguments, limit=120, check=True, environment=None):
    """Runs a program; its standard output, and with check=False its standard error behind it."""
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, timeout=limit, env=environment, cwd=REPOSITORY
    )
    if check and done.returncode != 0:
        shown = " ".join(map(str, arguments))
        raise Failed(f"{shown} ended with {done.returncode}: {tail(done.stderr + done.stdout)}")
    return done.stdout if check else done.stdout + done.stderr


def docker(*arguments, **options):
    """`docker …`"""
    return command("docker", *arguments, **options)


def why_not():
    """Why no cluster can be started here, in a sentence; None where one can."""
    if shutil.which("docker") is None:
        return "there is no Docker on this machine"
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        return "no Docker engine answers on this machine"
    return None if compose_program() else "there is neither `docker compose` nor `docker-compose` on this machine"


def compose_program():
    """Compose as a plugin where there is one, else as a program; None without either."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def listed(project, *labels, everything=False):
    """Identities of a project's containers that have these labels, too."""
    filters = [f"--filter=label={label}" for label in (f"com.docker.compose.project={project}", *labels)]
    return docker("ps", "--quiet", "--no-trunc", *filters, *(["--all"] if everything else [])).split()


class Cluster:
    """What `up` starts, seen from outside."""

    def __init__(self, binaries, scratch):
        self.binaries = Path(binaries)
        self.scratch = Path(scratch)
        self.ports = {name: free_port() for name in ("grpc", "http", "prometheus", "grafana")}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LOOKBEHIND_")},
            "COMPOSE_PROJECT_NAME": PROJECT,
            "LOOKBEHIND_VERSION": "test",
            "LOOKBEHIND_PORT": str(self.ports["grpc"]),
            "LOOKBEHIND_HTTP_PORT": str(self.ports["http"]),
            "LOOKBEHIND_PROMETHEUS_PORT": str(self.ports["prometheus"]),
            "LOOKBEHIND_GRAFANA_PORT": str(self.ports["grafana"]),
        }
        if subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode != 0:
            self.environment |= {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
        self.host = "localhost"
        self.cli = None

    def compose(self, *arguments, limit=180, check=True):
        """`docker compose -f deploy/compose.yaml …`"""
        program = [*compose_program(), "-f", str(COMPOSE_FILE)]
        return command(*program, *arguments, limit=limit, check=check, environment=self.environment)

    def elsewhere(self, *arguments, credentials="/nowhere", check=True):
        """`docker compose -f deploy/compose.worker.yaml …`, as on another machine with a folder of credentials."""
        environment = {
            **self.environment,
            "COMPOSE_PROJECT_NAME": ELSEWHERE,
            "LOOKBEHIND_COORDINATOR": self.address(),
            "LOOKBEHIND_CREDENTIALS": str(credentials),
        }
        program = [*compose_program(), "-f", WORKER_FILE]
        return command(*program, *arguments, limit=180, check=check, environment=environment)

    def containers(self, service, everything=False):
        """Identities of a service's containers; with `everything` also of those that have ended."""
        return listed(PROJECT, f"com.docker.compose.service={service}", everything=everything)

    def the(self, service, everything=False):
        """The one container of a service."""
        found = self.containers(service, everything)
        if len(found) != 1:
            raise Failed(f"expected one container of {service}, found {len(found)}")
        return found[0]

    def inspect(self, container):
        """What the engine says of a container."""
        return json.loads(docker("inspect", container))[0]

    def all_containers(self):
        """Identities of everything that belongs to this cluster."""
        peers = [container for machine in MACHINES for container in listed(machine, everything=True)]
        return listed(PROJECT, everything=True) + listed(ELSEWHERE, everything=True) + peers

    def network(self):
        """The network of coordinator and workers."""
        return f"{PROJECT}_cluster"

    def gateway(self):
        """The address that this machine has on that network; others of its networks reach it, no other machine does."""
        return json.loads(docker("network", "inspect", self.network()))[0]["IPAM"]["Config"][0]["Gateway"]

    def admin(self):
        """Copies the administrator's credentials out, and calls with them from outside."""
        certs = wait_for("the container that makes certificates", lambda: self.containers("certs", True))[0]
        folder = self.scratch / "admin"
        if not folder.exists():
            docker("cp", f"{certs}:/certs/admin", folder)
        self.cli = Cli(self.binaries / "lookbehind", self.address(), folder)
        return self.cli

    def address(self):
        """Where the coordinator is, seen from outside."""
        return f"https://{self.host}:{self.ports['grpc']}"

    def all_credentials(self):
        """Copies of all credentials, the authority's key among them."""
        folder = self.scratch / "certs"
        docker("cp", f"{self.the('certs', True)}:/certs", folder)
        return folder

    def kill_process(self, container):
        """Kills the container's process as the system would, so that the restart policy has its say."""
        os.kill(self.inspect(container)["State"]["Pid"], signal.SIGKILL)

    def logs(self):
        """The ends of all containers' logs."""
        parts = []
        for container in self.all_containers():
            about = self.inspect(container)
            name, state = about["Name"].lstrip("/"), about["State"]
            parts.append(f"--- {name} ({state['Status']}, exit {state['ExitCode']})")
            parts.append(tail(docker("logs", container, check=False)))
        return "\n".join(parts)

    def down(self):
        """Takes away containers, networks and volumes."""
        self.elsewhere("down", "--volumes", check=False)
        profiles = ["--profile", "observability", "--profile", "cli"]
        self.compose(*profiles, "down", "--volumes", "--remove-orphans", check=False)
