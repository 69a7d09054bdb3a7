"""
What is said: event classes, conversion, envelope and golden frames.
"""
