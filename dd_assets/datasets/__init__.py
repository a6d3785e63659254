"""Dataset settings as data, and how each raw dataset is read."""
