"""Runs as jobs: snapshots of the code, submission through submitit, the start of a job, and what is queued.

Does not: decide which runs are wanted, or know how a run works; a job is ``python run.py`` with the run's overrides.
"""
