"""The release: an immutable, content-addressed, signed directory. Built, verified and opened here and nowhere else."""
