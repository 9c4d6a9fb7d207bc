"""Which GPUs there are, asked of the driver itself: `python3 devices.py` prints it as JSON.

A process of its own asks, so that a driver that crashes or hangs is an answer like any other.
"""

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys

LIMIT = 120  # seconds that a driver may take to wake
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
NO_GPU = "the driver finds none"


def asked(environment=None):
    """{"cuda": version, "gpus": [{"name", "memory"}, …]} or {"problem": words, "gpus": []}."""
    command = [sys.executable, os.path.abspath(__file__)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        return {"problem": f"the driver gave no answer: {error}", "gpus": []}


def ask_driver():
    """What the CUDA driver says of this machine."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name, *arguments):
        code = getattr(cuda, name)(*arguments)
        if code != 0:
            raise OSError(NO_GPU if code == NO_DEVICE else f"{name} gave {code}")

    call("cuInit", 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    call("cuDriverGetVersion", ctypes.byref(version))
    call("cuDeviceGetCount", ctypes.byref(count))
    gpus = []
    for number in range(count.value):
        device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
        call("cuDeviceGet", ctypes.byref(device), number)
        call("cuDeviceGetName", name, 256, device)
        call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        gpus.append({"name": name.value.decode(errors="replace"), "memory": memory.value})
    return {"cuda": f"{version.value // 1000}.{version.value % 1000 // 10}", "gpus": gpus}


def heading(device, facts):
    """Pairs of a label and a value: what a table of results says of the machine."""
    gpus = facts["gpus"]
    described = ", ".join(f"{gpu['name']} ({gpu['memory'] / 2**30:.0f} GiB)" for gpu in gpus)
    return [
        ("machine", f"{os.cpu_count()} cores, {processor()}, {platform.system()} {platform.release()}"),
        ("GPU", described or f"none ({facts.get('problem', 'the driver counts none')})"),
        ("driver", f"{driver()}, CUDA {facts.get('cuda', 'unknown')}"),
        ("device", device),
    ]


def driver():
    """The driver's own version, where nvidia-smi is there to say it."""
    if shutil.which("nvidia-smi") is None:
        return "version unknown without nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except (subprocess.TimeoutExpired, OSError) as error:
        return f"version unknown: {error}"
    versions = sorted({line.strip() for line in done.stdout.splitlines() if line.strip()})
    return ", ".join(versions) if done.returncode == 0 and versions else "version unknown: nvidia-smi failed"


def processor():
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    try:
        print(json.dumps(ask_driver()))
    except (OSError, AttributeError) as error:
        print(json.dumps({"problem": str(error), "gpus": []}))
