"""What asks: load generators, ours and h2load, the frames that they are made of, and peers that mean harm."""
