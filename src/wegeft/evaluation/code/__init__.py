"""Scoring programs that a model wrote, by running them where they can do no harm."""
