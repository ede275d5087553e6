"""How a call to a service can fail, by what the caller may conclude from it.

UpstreamError
├── UpstreamUnreachable  503  no connection; the service has seen nothing of the request
├── UpstreamBusy         503  no free connection in time; it has seen nothing either
├── UpstreamBroken       502  the connection or the answer broke; the effect is unknown
│   └── UpstreamStale         ... on a kept connection, before any byte of an answer
├── UpstreamTimeout      504  no (complete) answer in time; the effect is unknown
└── CallAborted               given up by the caller
"""

from __future__ import annotations

from gateway.problems import BadGateway, GatewayTimeout, Refusal, ServiceUnavailable


class UpstreamError(Exception):
    """A call that brought no complete answer."""

    def refusal(self) -> Refusal:
        """Return what the client is told."""
        return BadGateway()


class UpstreamUnreachable(UpstreamError):
    def refusal(self) -> Refusal:
        return ServiceUnavailable("the service behind this route cannot be reached", code="upstream_unavailable")


class UpstreamBusy(UpstreamError):
    def refusal(self) -> Refusal:
        return ServiceUnavailable("the service behind this route has no free connection", code="upstream_busy")


class UpstreamBroken(UpstreamError):
    pass


class UpstreamStale(UpstreamBroken):
    """A kept connection was closed as we wrote to it: the common race of HTTP keep-alive (RFC 9112 §9.3.1)."""


class UpstreamTimeout(UpstreamError):
    def refusal(self) -> Refusal:
        return GatewayTimeout()


class CallAborted(UpstreamError):
    pass
