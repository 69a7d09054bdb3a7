"""
Several workers on one engine, their clients, and what goes wrong with both: ``python -m tests.soak``.
"""
