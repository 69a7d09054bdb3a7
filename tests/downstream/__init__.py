"""
A service of somebody else's: installed beside the built wheel, and checked as its own CI would.
"""
