"""Tests of the RD3 evaluation; helpers.py holds the networks and image sets they share."""
