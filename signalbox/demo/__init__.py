"""`signalbox demo`: the whole path on real prices, in a fresh home."""
