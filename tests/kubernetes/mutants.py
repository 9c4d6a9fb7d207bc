"""Faults that the checks must find: each is put into a copy of the chart, or into its values."""

import shutil
from pathlib import Path

import yaml

from tools import CHART, REPOSITORY

# (what is wrong, file of the chart, what is there, what is there instead, values, who finds it)
FAULTS = [
    ("a misspelt setting", None, "", "", {"coordinator": {"memmory": 1}}, "helm"),
    ("a misspelt setting of a pool", None, "", "", {"pools": {"cpu": {"replica": 3}}}, "helm"),
    ("a pool with an impossible name", None, "", "", {"pools": {"CPU_1": {}}}, "helm"),
    ("no Secret where Secrets are said to exist", None, "", "", {"credentials": {"from": "existing"}}, "helm"),
    ("webhooks without a secret", None, "", "", {"coordinator": {"webhooks": {"urls": ["https://a.example"]}}}, "helm"),
    ("another port of the coordinator", "templates/coordinator.yaml", "containerPort: 7070", "containerPort: 7080", {}, "rules"),
    ("a coordinator that listens elsewhere", "templates/coordinator.yaml", '"0.0.0.0:7071"', '"0.0.0.0:7072"', {}, "rules"),
    ("workers that call another port", "templates/_helpers.tpl", ":7070\n", ":7071\n", {}, "rules"),
    ("a probe of a port that is not there", "templates/workers.yaml", "port: metrics, scheme", "port: http, scheme", {}, "rules"),
    ("a variable that no program reads", "templates/workers.yaml", "LOOKBEHIND_WORKER_MEMORY", "LOOKBEHIND_WORKERS_MEMORY", {}, "rules"),
    ("a flag that no program has", None, "", "", {"coordinator": {"args": ["--retain-jobs", "3"]}}, "rules"),
    ("a Secret that nothing makes", "templates/coordinator.yaml", '(list . "coordinator"))', '(list . "leader"))', {}, "rules"),
    ("a selector without its pods", "templates/workers.yaml", "matchLabels:\n      {{- include", "matchLabels:\n      tier: x\n      {{- include", {}, "rules"),
    ("no limit of memory", None, "", "", {"coordinator": {"resources": {"limits": None}}}, "rules"),
    ("a program that may take more than its container", None, "", "", {"poolDefaults": {"memory": 9000}}, "rules"),
    ("a writable root", "templates/_helpers.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", {}, "rules"),
    ("too little time to end", "templates/coordinator.yaml", "shutdownGrace 30", "shutdownGrace 0", {}, "rules"),
    ("a misspelt key of Kubernetes", "templates/coordinator.yaml", "readinessProbe:", "readynessProbe:", {}, "schemas"),
    ("a number where text is expected", "templates/workers.yaml", "| int64 | quote", "| int64", {}, "schemas"),
    ("a misspelt key of Prometheus' operator", "templates/monitoring.yaml", "tlsConfig:", "tlsConfiguration:", {"monitoring": {"monitors": True}}, "schemas"),
    ("a misspelt key of cert-manager", "templates/credentials-cert-manager.yaml", "dnsNames:", "hostNames:", {"credentials": {"from": "cert-manager"}}, "schemas"),
]


def copy_with(fault, folder):
    """A copy of the chart with one fault, and the file of values."""
    _, file, there, instead, values, _ = fault
    chart = Path(folder) / "chart"
    shutil.copytree(CHART, chart, symlinks=False)
    if file:
        text = (chart / file).read_text()
        if there not in text:
            raise AssertionError(f"{REPOSITORY / file}: expected {there!r}; the fault does not apply any more")
        (chart / file).write_text(text.replace(there, instead))
    given = Path(folder) / "values.yaml"
    given.write_text(yaml.safe_dump(values))
    return chart, given
