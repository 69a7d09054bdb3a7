"""
Who may knock, and what proxies say of them.
"""
