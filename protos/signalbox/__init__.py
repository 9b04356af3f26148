"""Signalbox's own protocol."""
