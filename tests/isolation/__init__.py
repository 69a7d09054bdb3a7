"""
No event reaches another identity: whole paths, hostile ids, many users, and broken variants.
"""
