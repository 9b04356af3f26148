"""Stateful detectors, one a file: each measures, none judges."""
