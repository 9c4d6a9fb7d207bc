"""What must hold between the objects of the chart, and between them and the programs: checks that no schema can make."""

import re
import subprocess

import yaml

# The ports of deploy/compose.yaml, by the container and the port's name.
PORTS = {
    ("coordinator", "grpc"): 7070,
    ("coordinator", "http"): 7071,
    ("worker", "metrics"): 7072,
    ("worker", "peers"): 7171,
}
# Where a program listens, by the variable that says it.
LISTENS = {"LOOKBEHIND_LISTEN": "grpc", "LOOKBEHIND_PEERS": "peers"}
HTTP = {"coordinator": "http", "worker": "metrics"}
MEMORY = {"coordinator": "LOOKBEHIND_MEMORY", "worker": "LOOKBEHIND_WORKER_MEMORY"}
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def options_of(program):
    """Flags and variables that `PROGRAM --help` names."""
    text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"--[a-z][a-z-]+", text)), set(re.findall(r"\[env: ([A-Z_]+)", text))


def objects_of(text):
    """The objects of rendered manifests."""
    return [found for found in yaml.safe_load_all(text) if found]


def pods_of(objects):
    """(name of the object, labels of its pods, specification of its pods) for everything that makes pods."""
    for made in objects:
        kind, name = made["kind"], made["metadata"]["name"]
        if kind == "Pod":
            yield name, made["metadata"].get("labels", {}), made["spec"]
        elif kind in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
            template = made["spec"]["template"]
            yield name, template["metadata"].get("labels", {}), template["spec"]
        elif kind == "CronJob":
            template = made["spec"]["jobTemplate"]["spec"]["template"]
            yield name, template["metadata"].get("labels", {}), template["spec"]


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"]


def selectors_of(made):
    """Every set of labels by which an object finds pods."""
    spec = made.get("spec", {})
    if made["kind"] == "Service":
        yield spec["selector"]
    elif made["kind"] in ("Deployment", "DaemonSet", "StatefulSet", "PodDisruptionBudget", "PodMonitor"):
        yield spec["selector"]["matchLabels"]
    elif made["kind"] == "NetworkPolicy":
        yield spec["podSelector"]["matchLabels"]
        rules = [rule.get("from", []) for rule in spec["ingress"]] + [rule.get("to", []) for rule in spec["egress"]]
        for peer in sum(rules, []):
            if "podSelector" in peer:
                yield peer["podSelector"]["matchLabels"]


def check_selectors(objects):
    """Selectors find pods of the chart, and a workload's selector finds its own."""
    labels = [found for _, found, _ in pods_of(objects)]
    services = [made["metadata"]["labels"] for made in objects if made["kind"] == "Service"]
    for made in objects:
        name = f"{made['kind']} {made['metadata']['name']}"
        for selector in selectors_of(made):
            if not any(selector.items() <= found.items() for found in labels):
                yield f"{name}: expected a selector that finds pods of the chart, found {selector}"
        if made["kind"] == "ServiceMonitor":
            selector = made["spec"]["selector"]["matchLabels"]
            if not any(selector.items() <= found.items() for found in services):
                yield f"{name}: expected a selector that finds a Service of the chart, found {selector}"
        if made["kind"] in ("Deployment", "DaemonSet", "StatefulSet"):
            own = made["spec"]["template"]["metadata"]["labels"]
            if not made["spec"]["selector"]["matchLabels"].items() <= own.items():
                yield f"{name}: its selector does not find its own pods"


def check_options(objects, programs):
    """Every variable and flag that a container sets is one that its program has."""
    for name, _, pod in pods_of(objects):
        for container in containers_of(pod):
            if container["name"] not in programs:
                continue
            flags, variables = programs[container["name"]]
            for entry in container.get("env", []):
                if entry["name"].startswith("LOOKBEHIND_") and entry["name"] not in variables:
                    yield f"{name}/{container['name']}: {entry['name']} is not in the program's --help"
            for argument in container.get("args", []):
                if argument.startswith("--") and argument.split("=")[0] not in flags:
                    yield f"{name}/{container['name']}: {argument} is not in the program's --help"


def check_ports(objects):
    """Ports are those of the compose files, programs listen on them, and everything that names one names one that is there."""
    named = {}
    for name, labels, pod in pods_of(objects):
        for container in containers_of(pod):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            named.setdefault(labels.get("app.kubernetes.io/component"), {}).update(ports)
            for port, number in ports.items():
                if PORTS.get((container["name"], port)) != number:
                    yield f"{name}/{container['name']}: port {port}: expected {PORTS.get((container['name'], port))}, found {number}"
            yield from check_listening(name, container, ports)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in ports:
                    yield f"{name}/{container['name']}: {probe} asks port {port}, which the container does not name"
    for made in objects:
        name, spec = f"{made['kind']} {made['metadata']['name']}", made.get("spec", {})
        component = made["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if made["kind"] == "Service":
            for port in spec["ports"]:
                number = named.get(component, {}).get(port["targetPort"])
                if number != port["port"]:
                    yield f"{name}: port {port['port']} leads to {port['targetPort']}, which is {number}"
        if made["kind"] == "NetworkPolicy":
            component = spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for port in sum((rule.get("ports", []) for rule in spec["ingress"]), []):
                if port["port"] not in named[component] and port["port"] not in named[component].values():
                    yield f"{name}: lets port {port['port']} in, which no container has"
        if made["kind"] == "PodMonitor":
            for endpoint in spec["podMetricsEndpoints"]:
                if endpoint["port"] not in named["worker"]:
                    yield f"{name}: reads port {endpoint['port']}, which no worker names"


def check_listening(name, container, ports):
    """The addresses on which a program listens have the ports that the container names."""
    kind = container["name"]
    listens = {**LISTENS, "LOOKBEHIND_HTTP": HTTP.get(kind)}
    for entry in container.get("env", []):
        port, address = listens.get(entry["name"]), entry.get("value", "")
        if port and address != "off" and int(address.rsplit(":", 1)[1]) != ports.get(port):
            yield f"{name}/{kind}: {entry['name']} is {address}, and port {port} is {ports.get(port)}"
        if entry["name"] == "LOOKBEHIND_COORDINATOR" and not address.endswith(f":{PORTS['coordinator', 'grpc']}"):
            yield f"{name}/{kind}: the coordinator is called at {address}"


def secrets_named(node):
    """Names of Secrets anywhere in an object."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "secretName" and isinstance(value, str):
                yield value
            elif key in ("secret", "secretRef", "ca", "credentials") and isinstance(value, dict) and isinstance(value.get("name"), str):
                yield value["name"]
            else:
                yield from secrets_named(value)
    elif isinstance(node, list):
        for value in node:
            yield from secrets_named(value)


def secrets_made(objects):
    """Names of the Secrets that come about: as they are, of certificates, and of the recipe of `lookbehind certs`."""
    for made in objects:
        if made["kind"] == "Secret":
            yield made["metadata"]["name"]
        if made["kind"] == "Certificate":
            yield made["spec"]["secretName"]
        recipe = made.get("data", {}).get("kustomization.yaml") if made["kind"] == "ConfigMap" else None
        if recipe:
            yield from (secret["name"] for secret in yaml.safe_load(recipe)["secretGenerator"])


def check_secrets(objects, values):
    """A Secret that is named is made by the chart, or its name is the user's."""
    known = set(secrets_made(objects)) | set(re.findall(r"[\w.-]+", values))
    for made in objects:
        if made["kind"] == "Certificate":
            continue
        for name in sorted(set(secrets_named(made)) - known):
            yield f"{made['kind']} {made['metadata']['name']}: nothing makes the Secret {name}"


def check_confinement(objects):
    """Pod Security Standards, «restricted»; memory is limited, above what the program keeps to; time to end suffices."""
    for name, _, pod in pods_of(objects):
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: expected a pod that does not run as root, under the runtime's seccomp profile"
        if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
            yield f"{name}: expected no token of the cluster and no variables of Services"
        for container in containers_of(pod):
            own = container.get("securityContext", {})
            confined = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if own != confined:
                yield f"{name}/{container['name']}: expected {confined}, found {own}"
            yield from check_memory(name, container)
            for entry in container.get("env", []):
                if entry["name"] == "LOOKBEHIND_SHUTDOWN_GRACE":
                    grace = int(entry["value"])
                    if pod.get("terminationGracePeriodSeconds", 30) <= grace:
                        yield f"{name}: expected more than {grace} s between SIGTERM and SIGKILL"


def check_memory(name, container):
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    match = re.fullmatch(r"(\d+)([KMGT]i)", str(limit))
    if not match:
        yield f"{name}/{container['name']}: expected a limit of memory, found {limit}"
        return
    most = int(match[1]) * UNITS[match[2]]
    for entry in container.get("env", []):
        if entry["name"] == MEMORY.get(container["name"]) and int(entry["value"]) * 2**20 >= most:
            yield f"{name}: {entry['name']} is {entry['value']} MiB, and the container is killed at {limit}"


def check_names(objects):
    """No two objects of one kind have one name."""
    seen = set()
    for made in objects:
        key = (made["kind"], made["metadata"]["name"])
        if key in seen:
            yield f"{key[0]} {key[1]}: twice"
        seen.add(key)


def all_of(objects, values, programs):
    """Everything that does not hold, one line each."""
    yield from check_names(objects)
    yield from check_selectors(objects)
    yield from check_options(objects, programs)
    yield from check_ports(objects)
    yield from check_secrets(objects, values)
    yield from check_confinement(objects)
