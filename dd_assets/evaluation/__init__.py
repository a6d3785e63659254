"""The RD3 post-evaluation: one protocol under which every method's images train students.

Belongs here: protocol.py (the knobs, light), views.py (geometry and rendering), labellers.py (whose soft labels),
labels.py (soft labels on those views), losses.py, optimiser.py, given.py and students.py (the training loop),
accuracy.py (scoring) and diversity.py (measures beside accuracy). Does not belong: methods that make images, network
definitions, storage, Dagster.
"""
