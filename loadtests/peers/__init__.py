"""`make bench-peers`: other people's servers, each in an environment of its own, with the same model or as echoes."""
