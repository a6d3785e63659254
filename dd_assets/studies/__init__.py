"""Studies: RD3's tables and figures as data (*.yaml) and what reads them (registry.py)."""
