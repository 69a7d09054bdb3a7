"""
Whole lives of users on a hand-moved clock, by seed, and a checker of their histories.
"""
