"""Thin typed wrappers around system calls that Python's `os` lacks; each raises OSError with its errno."""
