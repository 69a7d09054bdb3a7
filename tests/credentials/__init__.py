"""
Ready-made checks of credentials.
"""
