"""What is made from the chart and kept beside it: its README, and manifests for those who use kustomize."""

import re

from tools import CHART, REPOSITORY, call

README, TEMPLATE = CHART / "README.md", CHART / "README.md.tmpl"
KUSTOMIZE = REPOSITORY / "deploy/kustomize"
MANIFESTS = KUSTOMIZE / "base/lookbehind.yaml"
HEADER = """\
# Made from the chart in deploy/helm by `tests/kubernetes/run --update`: a coordinator and two workers, with Secrets that
# kustomization.yaml beside it makes.
"""
KEY = re.compile(r"^( *)([\w-]+):(?: +(.*))?$")


def settings():
    """(path, default, text) of every setting of values.yaml, in its order."""
    path, text = [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment, key = re.match(r"^ *# ?(-- )?(.*)$", line), KEY.match(line)
        if comment and (comment[1] or text):
            text.append(comment[2])
        elif key:
            path = path[: len(key[1]) // 2] + [key[2]]
            if text:
                yield ".".join(path), key[3], " ".join(text)
            text = []
        elif not line.strip():
            text = []


def table(rows, prefix=""):
    """Settings as a table; those with a prefix without it."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for path, default, text in rows:
        shown = f"`{default}`" if default else "see `values.yaml`"
        lines.append(f"| `{path.removeprefix(prefix)}` | {shown} | {text} |".replace("||", "|"))
    return "\n".join(lines)


def readme():
    """The chart's README: a text with the tables of its settings."""
    rows = list(settings())
    pool = "poolDefaults."
    text = TEMPLATE.read_text()
    text = text.replace("@SETTINGS@", table(row for row in rows if not row[0].startswith(pool)))
    return text.replace("@POOLS@", table((row for row in rows if row[0].startswith(pool)), pool))


def manifests():
    """The chart with Secrets of the user's, without what only Helm understands."""
    values = ["--set", "credentials.from=existing"]
    for holder in ("coordinator", "worker", "admin"):
        values += ["--set", f"credentials.existing.{holder}=lookbehind-{holder}-credentials"]
    text = call("helm", "template", "lookbehind", CHART, *values, "--show-only", "templates/coordinator.yaml", "--show-only", "templates/workers.yaml")
    lines = [line for line in text.splitlines() if not re.search(r"^# Source:|managed-by: Helm|helm.sh/chart", line)]
    return HEADER + "\n".join(lines) + "\n"


def made():
    """Each file with what it must hold."""
    return {README: readme(), MANIFESTS: manifests()}
