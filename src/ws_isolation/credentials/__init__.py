"""
Ready-made checks of credentials, each by its path: JSON Web Tokens, connect tickets, and the sessions of frameworks.

What each makes is an ``authenticate``: it returns a context or refuses. Rule 1: nothing here remembers a result; a
credential is checked each time it comes. Rule 2: a refusal says to the operator why, never with a value that the client
gave. Rule 3: a session ends with the credential that opened it, by ``expires_at``.
"""

__all__ = ()
