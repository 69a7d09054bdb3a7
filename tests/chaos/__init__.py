"""
Networks that misbehave, clients that come back, and input that nobody sane would send.
"""
