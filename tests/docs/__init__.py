"""
What the documentation says is run: every code block, the README's example, the tutorial as a walk.
"""
