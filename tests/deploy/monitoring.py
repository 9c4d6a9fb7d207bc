"""Prometheus and Grafana of the profile `observability`, against the cluster that is being disturbed."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from support import REPOSITORY, tail, wait_for

SCRAPE_SECONDS = 5
GRAFANA = "http://127.0.0.1:{grafana}"


def get(url):
    """What a GET gives, as JSON; None without a good answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def image(cluster, name):
    """The image of a service, where it is here or can be pulled."""
    lines = (REPOSITORY / "deploy/compose.yaml").read_text().splitlines()
    found = next(line.split()[1] for line in lines if f"image: {name}:" in line)
    here = subprocess.run(["docker", "image", "inspect", found], capture_output=True).returncode == 0
    return (
        found
        if here or subprocess.run(["docker", "pull", "--quiet", found], capture_output=True).returncode == 0
        else None
    )


def start(cluster, report):
    """Lets Prometheus look on from now."""
    cluster.compose("--profile", "observability", "up", "--detach", "--no-recreate", "prometheus")
    cluster.watched_since = time.time()
    wait_for(
        "Prometheus scrapes a coordinator and two workers", lambda: scraped(cluster) == {"coordinator": 1, "worker": 2}
    )
    report.check("Prometheus scrapes the coordinator and both workers over TLS", True)


def scraped(cluster):
    """How many targets of each kind are up."""
    url = f"http://127.0.0.1:{cluster.ports['prometheus']}/api/v1/targets?state=active"
    targets = (get(url) or {"data": {"activeTargets": []}})["data"]["activeTargets"]
    up = [
        target["labels"]["job"]
        for target in targets
        if target["health"] == "up" and target["scrapeUrl"].startswith("https:")
    ]
    return {job: up.count(job) for job in up}


def check(cluster, report):
    """Every query of the dashboard has data; Grafana shows the dashboard where its image can be had."""
    url = f"http://127.0.0.1:{cluster.ports['prometheus']}"
    script = REPOSITORY / "tests/deploy/check_grafana_queries.py"
    since = int(time.time() - cluster.watched_since)
    asked = subprocess.run(
        [sys.executable, script, url, "--since", str(since), "--scrape", str(SCRAPE_SECONDS)],
        capture_output=True,
        text=True,
    )
    problems = [line for line in asked.stdout.splitlines() if not line.startswith("ok")]
    report.check(
        "every query of the Grafana dashboard has data", asked.returncode == 0, "\n".join(problems) + asked.stderr
    )
    grafana = image(cluster, "grafana/grafana")
    if grafana is None:
        report.say("skipped: Grafana itself, whose image is neither here nor can be pulled")
        return
    cluster.compose("--profile", "observability", "up", "--detach", "--no-recreate", "grafana")
    root = GRAFANA.format(**cluster.ports)
    wait_for("Grafana answers", lambda: get(f"{root}/api/health"), 120)
    home = get(f"{root}/api/dashboards/home") or {}
    report.check(
        "Grafana opens with the dashboard",
        home.get("dashboard", {}).get("uid") == "lookbehind",
        tail(str(home), 1)[:300],
    )
    query = urllib.parse.urlencode({"query": "sum(lookbehind_workers)"})
    data = get(f"{root}/api/datasources/proxy/uid/lookbehind/api/v1/query?{query}") or {}
    report.check("a visitor's query through Grafana has data", bool(data.get("data", {}).get("result")), data)
