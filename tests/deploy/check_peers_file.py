"""Checks that the port which compose.peers.yaml publishes is the one on which its worker listens and which it advertises.

Usage: check_peers_file.py CONFIG

CONFIG is what `docker compose config` makes of compose.worker.yaml and compose.peers.yaml, with LOOKBEHIND_ADVERTISE=beta
and LOOKBEHIND_PEERS_PORT=9. Needs PyYAML.
"""

import sys
from pathlib import Path

import yaml

HOST, PORT = "beta", "9"


def main():
    worker = yaml.safe_load(Path(sys.argv[1]).read_text())["services"]["worker"]
    environment, ports = worker["environment"], worker["ports"]
    address, inside = environment["LOOKBEHIND_PEERS"].rsplit(":", 1)
    problems = []
    if address != "0.0.0.0":
        problems.append(f"LOOKBEHIND_PEERS listens on {address}; what is published comes from another interface")
    if environment["LOOKBEHIND_ADVERTISE"] != f"{HOST}:{PORT}":
        problems.append(f"LOOKBEHIND_ADVERTISE is {environment['LOOKBEHIND_ADVERTISE']}, not {HOST}:{PORT}")
    published = [(str(port["published"]), str(port["target"])) for port in ports]
    if published != [(PORT, inside)]:
        problems.append(f"published are {published}, not {PORT} for {inside}, on which the worker listens")
    for problem in problems:
        print(f"compose.peers.yaml: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
