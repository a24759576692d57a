"""What is trained on and what is asked: tasks, their data sources, and the way from text to token ids."""
