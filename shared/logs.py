"""Structured logs: one JSON object a line on standard output, with the request's id and trace."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from shared import context
from shared.tracing import trace_id

_SECRET_WORDS = ("authorization", "password", "secret", "token", "cookie", "signature", "credential")


def configure(service: str, level: str) -> None:
    """Send structlog and the standard library's loggers through one JSON renderer."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _about_request,
        _redact,
        structlog.processors.format_exc_info,
    ]
    threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.processors.EventRenamer("event"), _named(service), _render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()], level=max(threshold, logging.WARNING), force=True)


def _about_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    about = context.current()
    if about.request_id:
        event.setdefault("request_id", about.request_id)
    if trace := trace_id(about.traceparent):
        event.setdefault("trace_id", trace)
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last line of defence: nobody should log these, and if somebody does, nothing is shown."""
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "[redacted]"
    return event


def _named(service: str) -> Any:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add


def _render(_: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(event, default=repr)


class _Forward(logging.Handler):
    """Hands records of other libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        write("library.message", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
