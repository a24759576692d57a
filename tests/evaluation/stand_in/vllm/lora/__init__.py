"""See the stand-in above."""
