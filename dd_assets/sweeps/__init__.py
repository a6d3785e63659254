"""Sweeps: which parameters, and which compositions of parts, teach best on validation images.

Belongs here: recipe files and proposals (compositions.py), successive halving (halving.py); light, nothing is computed.
Does not belong: turning a candidate into units (planning/sweeps.py), printing (cli/sweeping.py).
"""
