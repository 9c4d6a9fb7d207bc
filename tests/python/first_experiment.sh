#!/usr/bin/env bash
# Builds Lookbehind, installs numpy and matplotlib into a folder of its own, and runs first_experiment.py:
#   tests/python/first_experiment.sh --data FOLDER_WITH_CIFAR10_PARQUET --out DIR [--minutes M] [--seeds N] [--smoke]
# Paths are relative to the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."
peer=${LOOKBEHIND_PEER_FOLDER:-target/peer}
cargo build --release --locked --features parquet
[ -x "$peer/bin/python" ] || python3 -m venv "$peer"
"$peer/bin/pip" install --quiet numpy matplotlib
exec "$peer/bin/python" tests/python/first_experiment.py target/release/lookbehind "$@"
