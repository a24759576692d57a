"""Scoring open answers by the preferences of a judge between them and a reference model's answers."""
