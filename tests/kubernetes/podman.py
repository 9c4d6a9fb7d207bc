"""The chart's pods with podman, which knows pods but no API server: what it lacks is done here, and said."""

import json
import os
import resource
import subprocess
from pathlib import Path

import yaml

NETWORK = "lookbehind-kubernetes"
SUBNET = "10.233.77"
# Nothing of the machine's own podman is touched.
CONTAINERS = """\
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
# What this process may have; podman's own defaults are more than a machine for tests may allow.
LIMITS = {
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    "processes": min(resource.getrlimit(resource.RLIMIT_NPROC)[1], 32768),
}


class Podman:
    """Podman with storage of its own in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "containers.conf").write_text(CONTAINERS.format(**LIMITS))
        (self.folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }

    def __call__(self, *arguments, check=True, given=None):
        """What a command prints."""
        command = ["podman", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, input=given, timeout=300)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def load(self, image):
        """Takes an image over from Docker."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        subprocess.run(["podman", "load", "--quiet"], stdin=saved.stdout, env=self.environment, check=True, capture_output=True)
        if saved.wait() != 0:
            raise RuntimeError(f"docker save {image} ended with {saved.returncode}")
        # Podman gives it a registry of its own choice.
        loaded = next(name for name in self("images", "--format", "{{.Repository}}:{{.Tag}}").split() if name.endswith(image))
        self("tag", loaded, f"localhost/{image}")

    def play(self, address, *objects):
        """Starts objects as `podman kube play` does; a pod among them gets this address."""
        text = "---\n".join(yaml.safe_dump(made) for made in objects)
        self("kube", "play", "--network", NETWORK, "--ip", address, "-", given=text)

    def secret(self, name, folder, files):
        """Files of a folder as a Secret. Podman 4.3 mounts the data of one as they stand there, in base64, so it gets one with
        plain data in its own store."""
        data = {file: (Path(folder) / file).read_text() for file in files}
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        self("secret", "create", name, "-", given=yaml.safe_dump(made))

    def main_process(self, container):
        """The process of a container."""
        return json.loads(self("inspect", container))[0]["State"]["Pid"]


def pod_of(made, name, address, aliases):
    """The pod that Kubernetes would make of a workload, at an address that podman, unlike Kubernetes, has to be told. Left
    to the caller are probes: podman makes them with a curl, which the images do not have."""
    template = made["spec"]["template"]
    spec = json.loads(json.dumps(template["spec"]))
    for key in ("enableServiceLinks", "affinity", "fsGroupChangePolicy"):
        spec.pop(key, None)
    for claim in made["spec"].get("volumeClaimTemplates", []):
        source = {"claimName": f"{claim['metadata']['name']}-{name}"}
        spec["volumes"].append({"name": claim["metadata"]["name"], "persistentVolumeClaim": source})
    for volume in spec["volumes"]:
        if "secret" in volume:
            volume["secret"] = {"secretName": volume["secret"]["secretName"], "optional": False}
    for container in spec["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            container.pop(probe, None)
        container["imagePullPolicy"] = "Never"
        # It would publish them on the machine.
        container.pop("ports", None)
        for entry in container["env"]:
            source = entry.pop("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            if source:
                entry["value"] = {"metadata.name": name, "status.podIP": address}[source]
    spec["hostAliases"] = [{"ip": ip, "hostnames": names} for ip, names in aliases.items()]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec}


def claim_of(made, name):
    """The claims of the pod NAME of a StatefulSet."""
    for claim in made["spec"].get("volumeClaimTemplates", []):
        metadata = {"name": f"{claim['metadata']['name']}-{name}"}
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim["spec"]}
