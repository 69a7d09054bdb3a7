"""The conformance suite for adapters, in parts; ``ws_isolation.testing.check_adapter`` is its door."""
