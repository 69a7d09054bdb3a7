"""
The applications in ``examples``, served as their first lines say.
"""
