# What holds before a change lands, one recipe for each question; `.ci/run` runs those of its list one after the other and
# installs what they need. It is a justfile because a newcomer can read it as a list of commands, and run or copy one.

set shell := ["bash", "-euo", "pipefail", "-c"]

# How this project's own crates are compiled for tests: with debug assertions and overflow checks.
checked := "--config .config/checked.toml"
# Tests that take long: whole processes that are killed, thousands of fault schedules, random bytes.
slow := "binary(simulation) | binary(chaos) | binary(processes) | binary(fuzz)"
# With CUDA. The whole workspace is named although few of its crates change: named alone, they would use some crates of
# others with fewer features, and compile those again. Cargo compiles what differs.
cuda := "--release --locked --workspace --features lookbehind/cuda,lookbehind-worker/cuda"
# Where a toolkit is put that `just cuda-toolkit` fetches; kept from run to run.
toolkit := env("LOOKBEHIND_CUDA_TOOLKIT", env("XDG_CACHE_HOME", env("HOME") / ".cache") / "lookbehind/cuda-toolkit")
# Kernels compile for speed of compiling: at full optimisation, each of ten that candle-kernels brings takes a minute. No
# recipe here runs what nvcc makes of them, since the emulator compiles kernels for processors itself.
export NVCC_APPEND_FLAGS := env("NVCC_APPEND_FLAGS", "-Ofc=max")
# Where recipes leave what others of them read.
out := justfile_directory() / "target/ci"
emulator := out / "emulator"

# The recipes.
list:
    @just --list --unsorted

# --- Before each commit

# Formatting.
fmt:
    cargo fmt --all --check

# Lints, of everything but CUDA.
lint:
    cargo clippy --release --locked --workspace --all-targets -- -D warnings

# All tests but the slow ones, one process each.
test *ARGUMENTS:
    cargo nextest run {{ checked }} --release --locked --workspace -E 'not ({{ slow }})' {{ ARGUMENTS }}

# --- The rest of what a change must pass

# Documentation, which must name what exists. Prints the address of its first page.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps
    .ci/doc_index

# Licences, sources and bans of what is depended on; which crate may know what; nothing of others is compiled twice.
deny:
    cargo deny --locked check bans licenses sources
    .ci/layers
    .ci/shared_builds

# The slow tests, in the size of each change. 20,000 fault schedules are among them.
test-slow *ARGUMENTS:
    cargo nextest run {{ checked }} --release --locked --workspace -E '{{ slow }}' {{ ARGUMENTS }}
    .ci/check_programs --of-tests target/release

# The examples in the documentation.
test-doc:
    cargo {{ checked }} test --release --locked --workspace --doc

# The slow tests in the size of a release: about an hour on two cores.
test-large:
    SIMULATION_SCHEDULES=1000000 CHAOS_ROUNDS=40 BOLERO_RANDOM_TEST_TIME_MS=60000 {{ just_executable() }} test-slow

# A cluster under random faults, full disks and renewed certificates for as many minutes: digests, logs and memory.
soak MINUTES="60":
    CHAOS_MINUTES={{ MINUTES }} cargo nextest run {{ checked }} --release --locked --workspace --no-capture -E 'binary(chaos)'

# Known faults put into the code: each must be found by the fault simulation within 2,000 schedules. Compiles once for each.
mutations *NAMES:
    .ci/mutations {{ NAMES }}

# The programs as the README builds them: without failure points, and of a size that can be copied.
programs:
    cargo build --release --locked --workspace
    .ci/check_programs target/release

# The first command of the README ends with the accuracy and the digest that it always had.
first-command:
    rm -rf {{ out }}/run
    cargo run --release --locked -- train --out {{ out }}/run
    python3 .ci/check_summary {{ out }}/run/summary.json

# The Python package: the client and, as commands, the programs that are compiled already.
wheel: programs
    rm -rf python/lookbehind.data {{ out }}/wheels
    mkdir -p python/lookbehind.data/scripts
    ln target/release/lookbehind{,-coordinator,-worker} python/lookbehind.data/scripts/
    "$(.ci/python maturin==1.16.0)" -m maturin build --release --locked --manifest-path python/Cargo.toml --out {{ out }}/wheels

# The Python package in an environment of its own, without Rust: types, and the client against clusters of its commands.
python: wheel
    python/tests/run {{ out }}/wheels/*.whl

# TensorBoard reads the files of the first command; PyTorch, where it is installed, loads trained models strictly.
outputs: first-command
    "$(.ci/python tensorboard safetensors numpy)" tests/python/check_outputs.py {{ out }}/run
    if python3 -c "import torch, numpy, safetensors" 2>/dev/null; then \
        python3 tests/python/check_models.py target/release/lookbehind; \
    else \
        echo "torch is not installed: only the recorded cases under tests/fixtures/models are checked"; \
    fi

# A browser at the dashboard.
browser: programs
    .ci/packages chromium chromium-driver openssl
    "$(.ci/python selenium pillow)" tests/browser/dashboard.py --binaries target/release

# Prometheus reads coordinator and workers.
prometheus: programs
    tests/deploy/prometheus --binaries target/release

# docker compose, with images of the programs that are compiled already.
compose: programs compose-files
    .ci/docker
    tests/deploy/run --binaries target/release

# The pods of the Helm chart with podman, with the images of `compose`.
kubernetes-pods: programs
    .ci/packages podman runc catatonit
    "$(.ci/python pyyaml)" tests/kubernetes/pods --binaries target/release

# docker compose, with images that deploy/Dockerfile builds from the sources: when it, Cargo.lock or the toolchain changed.
compose-from-sources: programs compose-files
    .ci/docker
    tests/deploy/run --binaries target/release --from-sources

# The image of the CUDA worker has what the other has, and what compose asks of it.
compose-files:
    tests/deploy/check_compose_files "$(.ci/python pyyaml)"

# The Helm chart, without a cluster: Helm, schemas, checkov, and faults that these must find.
kubernetes: programs
    "$(.ci/python pyyaml packaging kubernetes-validate==1.37.0 checkov==3.3.30 \
        cloudcoil-models-prometheus-operator==0.80.1.0 cloudcoil-models-cert-manager==1.17.1.0)" \
        tests/kubernetes/run --binaries target/release

# The exchange between hosts behind links of limited rate, in network namespaces: needs root, iproute2 and util-linux. The
# table is for docs/benchmarks.md. Options: `just links --help`.
links *ARGUMENTS:
    cargo bench --locked -p lookbehind-tests --bench links -- {{ ARGUMENTS }}

# --- CUDA, on an emulated GPU

# CUDA's compiler, headers and libraries, fetched where they are missing.
cuda-toolkit:
    .ci/packages gcc g++
    python3 -m pip --version >/dev/null 2>&1 || .ci/packages python3-pip
    deploy/cuda-toolkit {{ toolkit }} >/dev/null

# Lints and documentation of what CUDA changes: that is in libraries and programs, and tests of the whole service are linted
# without it.
cuda-lint: cuda-toolkit
    eval "$(deploy/cuda-toolkit {{ toolkit }})" && cargo clippy {{ cuda }} --lib --bins -- -D warnings
    eval "$(deploy/cuda-toolkit {{ toolkit }})" && RUSTDOCFLAGS="-D warnings" cargo doc {{ cuda }} --no-deps

# The emulated machine, and the tests of its own. Built anew when something that it is made of is younger.
cuda-emulator: cuda-toolkit
    if [ ! -e {{ emulator }}/built ] || [ -n "$(find tests/gpu/emulator worker -type f -newer {{ emulator }}/built -print -quit)" ]; then \
        eval "$(deploy/cuda-toolkit {{ toolkit }})"; \
        tests/gpu/emulator/build --cuda "$CUDA_HOME" --out {{ emulator }} --test; \
        touch {{ emulator }}/built; \
    fi

# Unit tests of the CUDA code.
cuda-test: cuda-emulator
    eval "$(deploy/cuda-toolkit {{ toolkit }})" && LD_LIBRARY_PATH={{ emulator }} \
        cargo nextest run {{ checked }} {{ cuda }} --lib --exclude lookbehind-python -E 'test(cuda)'

# The programs with CUDA, on emulated GPUs: with the checks of the tests, because their crates are compiled so already.
# They stay in target/release until `just programs` puts the others back.
cuda-programs: cuda-emulator
    eval "$(deploy/cuda-toolkit {{ toolkit }})" && cargo build {{ checked }} {{ cuda }} --bins
    tests/gpu/emulated --emulator {{ emulator }} --programs target/release
