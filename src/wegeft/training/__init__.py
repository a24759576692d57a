"""Training: the objective (what is minimised), the schedule (how fast) and the loop (in which order)."""
