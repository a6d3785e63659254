"""Measurements side by side with what published repositories do; README.md says how to run and read them."""
