"""
The tests of the demo: its parts, its check, and broken variants that the check must notice.
"""
