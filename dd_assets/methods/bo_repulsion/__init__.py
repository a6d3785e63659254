"""BO+repulsion: recipe.py states what it is and its numbers, synthesis.py computes it.

Belongs here: nothing but this text, so that importing the recipe stays light.
"""
