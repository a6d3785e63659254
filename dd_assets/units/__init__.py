"""One module per kind of unit: how its recipe is assembled (light) and how it is computed from the store."""
