"""From a model and test examples to samples and scores."""
