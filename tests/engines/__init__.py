"""
Real engines, and what is promised on them.
"""
