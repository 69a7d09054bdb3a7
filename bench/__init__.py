"""
What delivery costs: the same work for this library and for what users would pick.

Run ``make bench`` or ``make bench-quick``; ``python -m bench --help`` lists the options.
"""
