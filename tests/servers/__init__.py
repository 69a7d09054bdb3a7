"""
The library behind real servers, spoken to by real clients on loopback.
"""
