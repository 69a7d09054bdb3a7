"""
The one place of the version: hatchling, the root module and the tests read it here.
"""

__version__ = "0.1.0"
