"""The bench of the features room: bits, batch, updates and cut-offs against the bars of their issue."""
