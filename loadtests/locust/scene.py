"""What Locust's users and the command that starts them agree on. Imports nothing that Locust must patch first."""

CROSS_SECTION = 500  # rows, and instruments of the home
MODELS = ("m100", "m100_next")  # of the home's releases, in the order of their promotion
