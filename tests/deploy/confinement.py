"""What images and containers hold, may do, and show."""

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request

from cluster import command, docker
from support import REPOSITORY, Failed, wait_for

MEGABYTE = 1_000_000
SERVICES = ("coordinator", "worker")
LABELS = ("title", "description", "version", "licenses")


def check_images(report):
    """Size, user, labels and programs."""
    base = re.search(r"^FROM (debian:\S+)", (REPOSITORY / "deploy/Dockerfile").read_text(), re.MULTILINE)[1]
    size = lambda name: json.loads(docker("image", "inspect", name))[0]["Size"]
    for service in SERVICES:
        over = (size(f"lookbehind-{service}:test") - size(base)) / MEGABYTE
        report.say(f"the image of the {service} has {over:.1f} MB over its base")
        image = json.loads(docker("image", "inspect", f"lookbehind-{service}:test"))[0]["Config"]
        missing = [label for label in LABELS if not image["Labels"].get(f"org.opencontainers.image.{label}")]
        report.check(f"the image of the {service} is labelled", not missing, missing)
        report.check(
            f"the image of the {service} has a user without rights", image["User"] == "10001:10001", image["User"]
        )
        if service == "coordinator":
            report.check("the image of the coordinator has at most 60 MB over its base", over <= 60, f"{over:.1f} MB")
    programs = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "ls", "lookbehind-coordinator:test", "/usr/local/bin"
    )
    report.check(
        "the image of the coordinator holds nothing but the coordinator",
        programs.split() == ["lookbehind-coordinator"],
        programs,
    )


def check_containers(cluster, report):
    """Rights, health, mounts and ports of what runs."""
    for service in SERVICES:
        for container in cluster.containers(service):
            check_container(cluster, report, service, container)
    place = f"localhost:{cluster.ports['http']}"
    report.check(
        "the coordinator's HTTP port speaks TLS with a certificate of the cluster's authority",
        answers(cluster, f"https://{place}/readyz"),
    )
    report.check("and gives no answer in plain text", not answers(cluster, f"http://{place}/readyz"))


def answers(cluster, url):
    """Whether a GET is answered with 200 by a server with a certificate of the cluster's authority."""
    context = ssl.create_default_context(cafile=cluster.scratch / "admin/ca.pem")
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False


def check_container(cluster, report, service, container):
    about = cluster.inspect(container)
    name, host = about["Name"].lstrip("/"), about["HostConfig"]
    healthy = lambda: cluster.inspect(container)["State"].get("Health", {}).get("Status") == "healthy"
    report.check(f"{name} becomes healthy", wait_for(f"{name} becomes healthy", healthy))
    status = docker("exec", container, "cat", "/proc/1/status")
    field = lambda key: re.search(rf"^{key}:\s*(.*)$", status, re.MULTILINE)[1].split()
    report.check(f"{name} runs as a user without rights", set(field("Uid")) == {"10001"}, field("Uid"))
    report.check(
        f"{name} has no capabilities and can get none",
        int(field("CapBnd")[0], 16) == 0 and field("NoNewPrivs") == ["1"],
        status,
    )
    for path in ("/", "/usr/local/bin", "/credentials"):
        attempt = docker("exec", container, "sh", "-c", f"touch {path}/written && echo written", check=False)
        report.check(f"{name} cannot write to {path}", "written\n" != attempt[-8:] and "Read-only" in attempt, attempt)
    limits = (host["Memory"], host["PidsLimit"], host["RestartPolicy"]["Name"])
    report.check(
        f"{name} has limits and a restart policy",
        limits[0] > 0 and limits[1] > 0 and limits[2] == "unless-stopped",
        limits,
    )
    volumes = {
        mount["Destination"]: mount["Name"].removeprefix("lookbehind-test_")
        for mount in about["Mounts"]
        if mount["Type"] == "volume"
    }
    others = [volume for volume in volumes.values() if "credentials" in volume and volume != f"{service}-credentials"]
    report.check(f"{name} sees its own credentials and no others", "/credentials" in volumes and not others, volumes)
    bound = {port["HostIp"] for ports in about["NetworkSettings"]["Ports"].values() for port in ports or []}
    report.check(f"{name} is published on the loopback interface at most", bound <= {"127.0.0.1"}, bound)


def secrets(cluster):
    """Every token, and a line of every private key."""
    found = []
    for path in cluster.all_credentials().rglob("*"):
        if path.name == "token":
            found.append(path.read_text().strip())
        elif path.name in ("key.pem", "ca-key.pem"):
            lines = path.read_text().splitlines()
            found.append(max(lines, key=len))
    return found


def check_secrets(cluster, report):
    """No token and no key is readable for others."""
    known = secrets(cluster)
    if len(known) < 8:
        raise Failed(f"expected at least 8 tokens and keys to look for, found {len(known)}")
    containers = cluster.all_containers()
    running = [container for container in containers if cluster.inspect(container)["State"]["Running"]]
    places = {
        "docker inspect": docker("inspect", *containers),
        "docker logs": "".join(docker("logs", container, check=False) for container in containers),
        "the list of processes": "".join(docker("top", container, "-eo", "pid,args") for container in running)
        + command("ps", "-eo", "args", "eww"),
        "the images' history": "".join(
            docker("history", "--no-trunc", f"lookbehind-{service}:test") for service in SERVICES
        ),
        "docker compose config": cluster.compose("config"),
    }
    for place, text in places.items():
        leaked = sum(secret in text for secret in known)
        report.check(f"none of {len(known)} tokens and keys is in {place}", text and leaked == 0, f"{leaked} are")
