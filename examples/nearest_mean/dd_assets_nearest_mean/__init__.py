"""Nearest mean: recipe.py states what it is and its numbers, synthesis.py computes it."""
