"""
Tests of the help for other people's tests.
"""
