"""The runtime's metrics, under the names that people's dashboards know from client-go and controller-runtime.

One `Metrics` per process, made by the composition root with its own registry; tests make their own. Label sets are bounded:
controllers, resources, verbs and classes of errors, never object names.

prometheus-client is used directly, the one library here beside those of design.md (docs/adr/0003).
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from msa import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp beside each series doubles a scrape and tells nothing; client-go has none

_QUEUE_SECONDS = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000)
_RECONCILE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_LAG_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """Everything that the runtime and the transport count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)  # memory, CPU, open files: where the kernel tells (Linux)
        Gauge("msa_build_info", "1, with the version.", ("version",), registry=registry).labels(
            __version__
        ).set(1)
        name = ("name",)
        self.queue_adds = Counter(
            "workqueue_adds_total", "Keys added to the work queue.", name, registry=registry
        )
        self.queue_retries = Counter(
            "workqueue_retries_total", "Keys put back with a backoff.", name, registry=registry
        )
        self.queue_wait = Histogram(
            "workqueue_queue_duration_seconds",
            "Time a key waits for a worker.",
            name,
            registry=registry,
            buckets=_QUEUE_SECONDS,
        )
        self.queue_work = Histogram(
            "workqueue_work_duration_seconds",
            "Time a worker spends on a key.",
            name,
            registry=registry,
            buckets=_QUEUE_SECONDS,
        )
        controller = ("controller",)
        self.reconciles = Counter(
            "controller_runtime_reconcile_total",
            "Reconciles by result.",
            ("controller", "result"),
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors_total",
            "Reconciles that failed.",
            controller,
            registry=registry,
        )
        self.reconcile_panics = Counter(
            "controller_runtime_reconcile_panics_total",
            "Reconciles that ended in an exception nobody expected: bugs, logged as reconcile_crashed.",
            controller,
            registry=registry,
        )
        self.terminal_errors = Counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that only a change of the object can help.",
            controller,
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time of one reconcile.",
            controller,
            registry=registry,
            buckets=_RECONCILE_SECONDS,
        )
        self.active_workers = Gauge(
            "controller_runtime_active_workers", "Workers busy with a key.", controller, registry=registry
        )
        self.max_workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Workers there are.",
            controller,
            registry=registry,
        )
        self.stale_skips = Counter(
            "msa_stale_sync_skips_total",
            "Reconciles put off until the cache has our own write.",
            controller,
            registry=registry,
        )
        self.stale_timeouts = Counter(
            "msa_stale_sync_timeouts_total",
            "Waits for our own write given up.",
            controller,
            registry=registry,
        )
        self.requests = Counter(
            "rest_client_requests_total",
            "Requests by status code, method and host.",
            ("code", "method", "host"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Time until the answer.",
            ("verb", "host"),
            registry=registry,
            buckets=_REQUEST_SECONDS,
        )
        self.request_retries = Counter(
            "rest_client_request_retries_total",
            "Requests sent again.",
            ("code", "verb", "host"),
            registry=registry,
        )
        self.leader = Gauge(
            "leader_election_master_status", "1 while this process leads.", name, registry=registry
        )
        resource = ("resource",)
        self.lists = Counter(
            "reflector_lists_total",
            "Full lists, streamed or paged.",
            ("resource", "method"),
            registry=registry,
        )
        self.watches = Counter("reflector_watches_total", "Watches opened.", resource, registry=registry)
        self.watch_errors = Counter(
            "msa_watch_errors_total",
            "Lists and watches that failed, by class of error.",
            ("resource", "reason"),
            registry=registry,
        )
        self.watch_events = Counter("msa_watch_events_total", "Events received.", resource, registry=registry)
        self.malformed = Counter(
            "msa_malformed_objects_total",
            "Objects that could not be read, and were left out.",
            resource,
            registry=registry,
        )
        self.handler_errors = Counter(
            "msa_handler_errors_total",
            "Changes that a handler failed on: bugs, logged as handler_failed.",
            resource,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "msa_event_loop_lag_seconds",
            "How late the event loop wakes a sleeper.",
            registry=registry,
            buckets=_LAG_SECONDS,
        )
        self.gc_pause = Histogram(
            "msa_gc_pause_seconds",
            "Pauses of the garbage collector.",
            registry=registry,
            buckets=_LAG_SECONDS,
        )
        self.events_sent = Counter(
            "msa_events_sent_total", "Kubernetes Events that were tried to be sent.", registry=registry
        )
        self.events_dropped = Counter(
            "msa_events_dropped_total",
            "Kubernetes Events that did not get through: there were too many, or sending failed.",
            registry=registry,
        )
