#!/usr/bin/env python3
"""Asks a real Prometheus every query of the Grafana dashboard.

    tests/deploy/check_grafana_queries.py URL [--dashboard FILE] [--since SECONDS] [--scrape SECONDS]

A query passes where it gives at least one number at some time since so many seconds ago, as its panel would draw it:
errors, no series, and series of nothing but NaN fail. Variables are put in as Grafana would with every job chosen:
--scrape is the time between two scrapes, from which Grafana derives $__rate_interval. Ends with "N passed, M failed".
"""

import argparse
import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/dashboards/lookbehind.json"


def panels(dashboard):
    """All panels, those inside collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions(dashboard):
    """Title and query of everything that is drawn, and of what variables are filled with."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric = variable["definition"].removeprefix("label_values(").split(",")[0]
            yield f"variable {variable['name']}", f"count({metric})"


def substituted(expression, dashboard, scrape, span):
    """The query with its variables put in."""
    values = {"__rate_interval": f"{4 * scrape}s", "__range": f"{span}s", "__interval": f"{scrape}s"}
    for variable in dashboard["templating"]["list"]:
        values[variable["name"]] = variable.get("allValue", "")
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return expression


def numbers(url, query, span, step):
    """How many numbers a query gives within the last `span` seconds; raises ValueError with Prometheus' words."""
    now = time.time()
    form = {"query": query, "start": now - span, "end": now, "step": step}
    data = urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query_range", data, timeout=30) as answer:
            result = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode(errors="replace")) from None
    return sum(math.isfinite(float(value)) for series in result for _, value in series["values"])


def main():
    parser = argparse.ArgumentParser(description="Asks a Prometheus every query of the Grafana dashboard.")
    parser.add_argument("url", help="of Prometheus, as in http://127.0.0.1:9090")
    parser.add_argument("--dashboard", type=Path, default=DASHBOARD)
    parser.add_argument("--since", type=int, default=300, metavar="SECONDS", help="the time that is shown")
    parser.add_argument("--scrape", type=int, default=5, metavar="SECONDS", help="time between two scrapes")
    options = parser.parse_args()
    dashboard = json.loads(options.dashboard.read_text())
    passed = failed = 0
    for title, expression in expressions(dashboard):
        query = substituted(expression, dashboard, options.scrape, options.since)
        try:
            found = numbers(options.url, query, options.since, options.scrape)
            problem = None if found else "no data"
        except ValueError as error:
            problem = f"refused: {error}"
        if problem:
            failed += 1
            print(f"FAILED  {title}: {problem}\n        {query}")
        else:
            passed += 1
            print(f"ok      {title}: {found} numbers")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
