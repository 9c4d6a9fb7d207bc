"""Exports the recorded models as ONNX and computes their logits with onnxruntime.

    python tests/python/check_onnx.py target/release/lookbehind

Takes the cases under tests/fixtures/models, whose logits PyTorch has computed. Needs numpy, onnx, onnxruntime and
safetensors.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

CASES = Path(__file__).parent.parent / "fixtures" / "models"
TOLERANCE = 1e-4
JOB = """name = "case"
[data]
kind = "safetensors"
train = "data.safetensors"
test = "data.safetensors"
[train]
steps = 1
batch_size = 2
shards = 1
[optimizer]
method = "sgd"
[model]
"""


def toml(value):
    """A value in TOML, for tables within lines."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return json.dumps(value)


def check(program, case):
    description = json.loads((case / "case.json").read_text())
    expected = load_file(case / "expected.safetensors")
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        # Classes are counted from the targets.
        targets = numpy.arange(len(expected["inputs"])) % description["classes"]
        save_file({"inputs": expected["inputs"], "targets": targets.astype(numpy.int64)}, folder / "data.safetensors")
        model = "".join(f"{key} = {toml(value)}\n" for key, value in description["model"].items())
        (folder / "job.toml").write_text(JOB + model)
        arguments = ["export", case / "model.safetensors", "--job", folder / "job.toml", "--onnx", "--out"]
        subprocess.run([program, *arguments, folder / "model.onnx"], check=True)
        onnx.checker.check_model(folder / "model.onnx", full_check=True)
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        found = session.run(["logits"], {"inputs": expected["inputs"]})[0]
        one = session.run(["logits"], {"inputs": expected["inputs"][:1]})[0]
    off = max(numpy.abs(found - expected["logits"]).max(), numpy.abs(one - expected["logits"][:1]).max())
    print(f"{case.name}: off by {off:.1e}")
    return off <= TOLERANCE


def main():
    program = Path(sys.argv[1]).resolve()
    results = [check(program, case) for case in sorted(CASES.iterdir())]
    if not all(results):
        sys.exit("some logits are not those of PyTorch")


if __name__ == "__main__":
    main()
