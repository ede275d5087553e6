"""Metrics of every service by the RED habit: requests, errors, duration, by route and status."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

REQUESTS = Counter("dezky_http_requests_total", "Requests answered", ["service", "method", "route", "status"])
SECONDS = Histogram(
    "dezky_http_request_seconds",
    "Time to the end of the answer",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


def exposition() -> tuple[bytes, str]:
    """Return the metrics of this process and their content type."""
    return generate_latest(), CONTENT_TYPE_LATEST
