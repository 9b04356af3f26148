"""What every bench stands on: the model and its questions, servers and what they use, rounds, readings and results."""
