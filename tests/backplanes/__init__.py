"""
Engines behind the streams.
"""
