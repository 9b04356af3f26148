"""The append-only, hash-chained, signed history; what is live is its fold."""
