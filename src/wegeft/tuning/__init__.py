"""Choosing hyper-parameters on validation rows: the search (``mode=tune``), its file, and runs that take its values.

Does not: run anything by itself; every trial is a run of ``wegeft.experiment``.
"""
