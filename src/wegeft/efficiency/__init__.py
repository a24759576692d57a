"""What methods cost on one backbone: ``python run.py +experiment=efficiency``.

`config` says who is timed, `measure` times them in turns, `report` is the file that is written.

Does not: train, score answers, or compare figures taken in different processes.
"""
