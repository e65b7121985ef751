"""The Grafana dashboard, which `make generate` writes.

For Grafana 10 or later. What the queries go by is told in manifests/monitoring/alerts.yaml.
"""

import json
from pathlib import Path
from typing import Any, Final

from attrs import frozen

DASHBOARD: Final = Path(__file__).parents[1] / "manifests/monitoring/dashboard.json"
_SCHEMA_VERSION: Final = 38
"""Grafana 10.0's; later ones migrate it as they load it."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_CLUSTER: Final = 'cluster=~"$cluster"'
_AGENT: Final = f'job=~".*managed-serviceaccount-addon-agent.*",{_CLUSTER}'
_MANAGER: Final = f'job=~".*managed-serviceaccount-addon-manager.*",{_CLUSTER}'
_IDENTITY: Final = "cluster, namespace, exported_namespace, name"
_COLUMNS: Final = 3
_WIDTH: Final = 24 // _COLUMNS
_HEIGHT: Final = 8


@frozen
class Query:
    """What Prometheus is asked.

    Attributes:
        legend: with {{label}} for values.
        in_trouble: it has an answer only once something has gone wrong.
    """

    expr: str
    legend: str
    in_trouble: bool = False


@frozen
class Panel:
    """A graph.

    Attributes:
        unit: Grafana's name of it.
        text: what to look for.
    """

    title: str
    unit: str
    text: str
    queries: tuple[Query, ...]


def rows() -> dict[str, tuple[Panel, ...]]:
    """The panels by the title of their row."""
    return {
        "Hub": (*_hub(), *_runtime(_MANAGER)),
        "Agents": (*_agents(), *_runtime(_AGENT)),
    }


def _hub() -> tuple[Panel, ...]:
    return (
        Panel(
            "Addon by state",
            "short",
            "Managed clusters. All should be available; registering and deploying pass within minutes.",
            (Query(f"max by (state) (msa_addon_clusters{{{_CLUSTER}}})", "{{state}}"),),
        ),
        Panel(
            "CSR decisions",
            "short",
            "An hour's certificate signing requests. Undecided ones have a reason: see the request's Events.",
            (
                Query(
                    f"sum by (decision, reason) (increase(msa_csr_decisions_total{{{_CLUSTER}}}[1h]))",
                    "{{decision}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Writes to clusters' namespaces",
            "ops",
            "Quiet but for clusters that join and leave, and upgrades. Rewrites without end: somebody else writes too.",
            (_rate("kind, verb", "msa_addon_writes_total", _CLUSTER, "{{verb}} {{kind}}"),),
        ),
    )


def _agents() -> tuple[Panel, ...]:
    known, ready = (
        f'sum(max by (cluster, namespace, job, status) (msa_ready{{condition="Ready",{which}}}))'
        for which in (_CLUSTER, f'status="True",{_CLUSTER}')
    )
    succeeded, failed = (f'result="{result}",{_CLUSTER}' for result in ("success", "failure"))
    seconds = "msa_token_request_duration_seconds"
    return (
        Panel(
            "Time to expiry",
            "s",
            "The ten tokens that expire soonest. Below 0 somebody is locked out.",
            (_soonest("msa_token_expiration_timestamp_seconds"),),
        ),
        Panel(
            "Time to renewal",
            "s",
            "The ten that are due soonest. Below 0 for more than seconds: renewals fail.",
            (_soonest("msa_token_refresh_timestamp_seconds"),),
        ),
        Panel(
            "Ready",
            "percentunit",
            "The share of identities with a good token in their Secret.",
            (Query(f"({ready} or vector(0)) / {known}", "ready"),),
        ),
        Panel(
            "Rotations by reason",
            "ops",
            "Tokens issued, and why.",
            (_rate("reason", "msa_rotations_total", succeeded, "{{reason}}"),),
        ),
        Panel(
            "Failures, refusals and repairs",
            "ops",
            "What could not be done, what was not ours to do, and what somebody altered and was put right.",
            (
                _rate("reason", "msa_rotations_total", failed, "failed: {{reason}}", in_trouble=True),
                _rate("reason", "msa_refusals_total", _CLUSTER, "refused: {{reason}}", in_trouble=True),
                _rate("kind", "msa_repairs_total", _CLUSTER, "repaired: {{kind}}", in_trouble=True),
            ),
        ),
        Panel(
            "TokenRequest latency",
            "s",
            "How long managed clusters take to issue a token.",
            (_quantile(0.5, seconds, _CLUSTER, "median"), _quantile(0.99, seconds, _CLUSTER, "99 %")),
        ),
        Panel(
            "Clock skew",
            "s",
            "How far the API servers' clocks are ahead of the agent's. More than a minute breaks certificates and tokens.",
            (
                Query(
                    f"max by (cluster, namespace, side) (msa_clock_skew_seconds{{{_CLUSTER}}})",
                    "{{cluster}} {{side}}",
                ),
            ),
        ),
    )


def _runtime(which: str) -> tuple[Panel, ...]:
    """What both programs have; `which` selects one of them."""
    waits, lag, asked = (
        "workqueue_queue_duration_seconds",
        "msa_event_loop_lag_seconds",
        "rest_client_request_duration_seconds",
    )
    return (
        Panel(
            "Queue latency",
            "s",
            "How long a key waits for a worker; beyond a second --workers or the API server is too slow.",
            (_quantile(0.99, waits, which, "{{name}} 99 %", by="name, "),),
        ),
        Panel(
            "Queue depth",
            "short",
            "Keys that wait. A replica that does not lead keeps them.",
            (Query(f"workqueue_depth{{{which}}}", "{{name}} {{instance}}"),),
        ),
        Panel(
            "API requests",
            "reqps",
            "By method and status; <error> is no answer at all.",
            (_rate("method, code", "rest_client_requests_total", which, "{{method}} {{code}}"),),
        ),
        Panel(
            "API request latency",
            "s",
            "99 % of the answers came within this time.",
            (_quantile(0.99, asked, f'verb!="WATCH",{which}', "{{verb}}", by="verb, "),),
        ),
        Panel(
            "Watch health",
            "s",
            "The age of the caches: a saw tooth of 60 s while all is well.",
            (
                Query(
                    f"max by (cluster, instance, resource) (msa_watch_age_seconds{{{which}}})",
                    "{{resource}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Watch errors",
            "ops",
            "Lists and watches that failed, by class of error.",
            (
                _rate(
                    "resource, reason",
                    "msa_watch_errors_total",
                    which,
                    "{{resource}}: {{reason}}",
                    in_trouble=True,
                ),
            ),
        ),
        Panel(
            "Event loop lag",
            "s",
            "How late sleepers wake. Beyond 0.1 s the CPU is short, or something holds the loop.",
            (_quantile(0.99, lag, which, "99 %"),),
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident. Grows with the number of objects in the caches, not with time.",
            (Query(f"process_resident_memory_bytes{{{which}}}", "{{cluster}} {{instance}}"),),
        ),
        Panel(
            "Leader",
            "short",
            "One for each Lease: 0 means that nobody works, 2 must never be.",
            (
                Query(
                    f"sum by (cluster, namespace, name) (leader_election_master_status{{{which}}})",
                    "{{cluster}} {{name}}",
                ),
            ),
        ),
    )


def _soonest(series: str) -> Query:
    return Query(
        f"bottomk(10, max by ({_IDENTITY}) ({series}{{{_CLUSTER}}}) - time())",
        "{{cluster}} {{exported_namespace}} {{namespace}}/{{name}}",
    )


def _rate(by: str, series: str, which: str, legend: str, *, in_trouble: bool = False) -> Query:
    return Query(f"sum by ({by}) (rate({series}{{{which}}}[$__rate_interval]))", legend, in_trouble)


def _quantile(quantile: float, histogram: str, which: str, legend: str, *, by: str = "") -> Query:
    buckets = f"rate({histogram}_bucket{{{which}}}[$__rate_interval])"
    return Query(f"histogram_quantile({quantile}, sum by ({by}le) ({buckets}))", legend)


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "annotations": {"list": []},
        "description": "The addon managed-serviceaccount: its manager on the hub, its agents on managed clusters, and their tokens.",
        "editable": True,
        "graphTooltip": 1,
        "links": [],
        "panels": _laid_out(),
        "refresh": "1m",
        "schemaVersion": _SCHEMA_VERSION,
        "tags": ["open-cluster-management", "managed-serviceaccount"],
        "templating": {"list": [_datasources(), _clusters()]},
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "title": "Managed ServiceAccount",
        "uid": "managed-serviceaccount",
        "version": 1,
    }


def _laid_out() -> list[dict[str, Any]]:
    """Each row's title, and below it its panels, three abreast."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, panels in rows().items():
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
                "panels": [],
            }
        )
        for number, panel in enumerate(panels):
            line, column = divmod(number, _COLUMNS)
            place = {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": top + 1 + line * _HEIGHT}
            made.append({"id": len(made) + 1, "gridPos": place, **_graph(panel)})
        top += 1 + -(-len(panels) // _COLUMNS) * _HEIGHT
    return made


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": {"fillOpacity": 10, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _datasources() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _clusters() -> dict[str, Any]:
    """All of them also where the series have no such label."""
    query = "label_values(msa_build_info, cluster)"
    return {
        "name": "cluster",
        "label": "Cluster",
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "cluster"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"
