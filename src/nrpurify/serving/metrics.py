"""Prometheus metrics of a server; with several workers, of all of them."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client finds the folder that workers share."""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All metrics of one application."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if MULTIPROCESS not in os.environ:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "nrpurify_http_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "nrpurify_http_request_seconds",
            "Time from a request's first line to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.images = Counter(
            "nrpurify_images",
            "Images that a lane has finished.",
            ("lane",),
            registry=self.registry,
        )
        self.batches = Histogram(
            "nrpurify_batch_images",
            "Images that went through a network together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.work = Counter(
            "nrpurify_work_seconds",
            "Time that a lane's thread worked.",
            ("lane",),
            registry=self.registry,
        )
        self.held = Gauge(
            "nrpurify_places_held",
            "Requests at work or waiting.",
            ("lane",),
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)
