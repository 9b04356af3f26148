"""The features that ship with Signalbox: pure functions, each with its declaration.

Those that read `..._adjusted_final`, prices adjusted with later knowledge, must not change when an instrument's whole
series is multiplied by a constant, so each is made of ratios of prices. The table of all: docs/features.md.
"""
