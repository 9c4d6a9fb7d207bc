#!/usr/bin/env bash
# Builds Lookbehind, installs PyTorch into a folder of its own, and runs compare_training.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
peer=${LOOKBEHIND_PEER_FOLDER:-target/peer}
cargo build --release --locked
[ -x "$peer/bin/python" ] || python3 -m venv "$peer"
"$peer/bin/pip" install --quiet torch numpy safetensors
exec "$peer/bin/python" tests/python/compare_training.py target/release/lookbehind "$@"
