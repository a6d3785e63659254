"""What several methods share: BN statistics, differentiable views, patch scoring.

Belongs here: torch code used by two or more methods. Does not belong: one method's loop (its synthesis.py), numbers.
"""
