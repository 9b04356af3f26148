"""The features that ship with Signalbox: pure functions, each with its declaration.

All read `close_adjusted_final`, prices adjusted with later knowledge: multiplying an instrument's whole series by a
constant must change none of them, so each is made of ratios of prices.
"""
