"""Results for use elsewhere: read by Python code, or exported as files that need nothing of this project.

Belongs here: the room's text only. Does not belong: computing anything, Dagster.
"""
