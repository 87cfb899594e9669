"""Deciding: which class, which clock, what is due, what stands in the way. Pure: no I/O, and `now` is an argument."""
