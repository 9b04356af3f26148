"""`make bench-serving`: the bars of the data plane, and a module for each group of its lines."""
