"""Thin Dagster shells, one module per stage: declare, call, describe.

Belongs here: asset definitions and their metadata. Does not belong: planning (dd_assets/planning), computation
(dd_assets/units and below) or anything heavy at module level.
"""
