"""
The measuring harness itself: what it counts, how it divides, what it draws. No peer is needed.
"""
