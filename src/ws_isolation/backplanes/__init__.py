"""What carries streams between the parts of an application; imported by path."""

__all__ = ()
