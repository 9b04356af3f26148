"""The front door: one command line over all rooms, and the demo."""
