"""
The tests of ``ws_isolation``: what is promised, and a broken variant beside each promise.
"""
