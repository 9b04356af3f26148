"""Fuzzed inputs: what is fed to each layer, what must hold for every input, and where inputs come from."""
