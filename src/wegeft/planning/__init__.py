"""What runs would be before they are run: which exist, which are missing, and what each costs.

``compose`` makes many configurations at once, ``tables`` knows the runs of a table, ``trace`` counts work without
weights, ``hardware`` turns work into time, ``measured`` and ``workload`` learn from records, ``runs`` puts it together
and ``show`` prints it. Nothing here loads weights or data, or starts a run.
"""
