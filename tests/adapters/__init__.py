"""
The adapters, each with its framework.
"""
