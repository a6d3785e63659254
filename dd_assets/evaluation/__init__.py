"""The RD3 post-evaluation: one protocol under which every method's images train students.

Belongs here: protocol.py (the knobs, light), views.py (geometry and rendering), labels.py (soft labels on those views),
losses.py, optimiser.py, students.py (the training loop) and accuracy.py (scoring). Does not belong: methods that make
images, network definitions, storage, Dagster.
"""
