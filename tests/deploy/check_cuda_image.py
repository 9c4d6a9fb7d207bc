"""Whether the image of the CUDA worker has what the CPU worker's has, and what compose asks of it.

    tests/deploy/check_cuda_image.py CONFIG.yaml...

Each file is what `docker compose config` prints for compose.cuda.yaml over another file. Nothing is built: it compares
the Dockerfiles with each other, with those files, and with what .dockerignore lets into a build. Run from the root.
"""

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import yaml

CPU_IMAGE = "deploy/Dockerfile"
CUDA_IMAGE = "deploy/Dockerfile.worker-cuda"


def said(file, stages):
    """What these stages of a Dockerfile do: pairs of an instruction and one of its words."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", Path(file).read_text())).splitlines()
    stage, found = None, set()
    for name, _, text in (line.partition(" ") for line in lines if line):
        stage = text.split()[-1] if name == "FROM" else stage
        if stage in stages and name in ("COPY", "ENV", "RUN", "USER", "EXPOSE", "ENTRYPOINT"):
            found |= {(name, word) for word in text.split()}
    return found


def kept(path):
    """Whether .dockerignore lets a path into the build: the last pattern that fits it or a folder above it decides."""
    ancestors = [str(above) for above in (Path(path), *Path(path).parents) if above != Path()]
    rules = [line for line in Path(".dockerignore").read_text().split() if not line.startswith("#")]
    fits = [rule for rule in rules if any(fnmatch(above, rule.lstrip("!/")) for above in ancestors)]
    return not fits or fits[-1].startswith("!")


def lacking(config):
    """What the CUDA image lacks for the worker of a compose file."""
    worker = yaml.safe_load(Path(config).read_text())["services"]["worker"]
    cpu = said(CPU_IMAGE, ["base", "worker"])
    image = said(Path("deploy", Path(worker["build"]["dockerfile"]).name), [worker["build"]["target"]])
    wrong = [f"the CUDA image lacks {' '.join(pair)}" for pair in sorted(cpu - image)]
    mounts = [mount if isinstance(mount, str) else mount["target"] for mount in worker["volumes"]]
    for target in (mount.split(":")[1] if ":" in mount else mount for mount in mounts):
        if ("RUN", target) not in image:
            wrong.append(f"the CUDA image makes no folder {target} to mount on")
    return wrong


def unseen():
    """What the CUDA image copies that a build does not see."""
    copied = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", Path(CUDA_IMAGE).read_text())
    sources = " ".join(copied).split()
    return [f"{source} is copied, but builds do not see it" for source in sources if not (Path(source).exists() and kept(source))]


def main():
    wrong = [problem for config in sys.argv[1:] for problem in lacking(config)] + unseen()
    sys.exit("\n".join(dict.fromkeys(wrong)) or 0)


if __name__ == "__main__":
    main()
