"""Adapters bind web frameworks. Each is imported by its path; importing this package imports none."""

__all__ = ()
