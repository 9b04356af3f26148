"""Scores rows with loaded releases. Knows no wire: no protos, no grpc."""
