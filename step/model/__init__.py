"""The terms of Binary Authorization as values, and every rule that decides trust.

Pure: no input or output, no clock, no environment.
"""
