"""
Watching a factory: the protocol, and what is built on it.

An observer of your own for Prometheus, statsd or OpenTelemetry is a few lines;
:class:`LoggingObserver` needs nothing but a log.
"""

from __future__ import annotations

from ..observing import Observer, Outcome, SpanName
from .logging import LoggingObserver

__all__ = ("LoggingObserver", "Observer", "Outcome", "SpanName")
