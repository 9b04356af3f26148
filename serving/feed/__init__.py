"""Where feature rows come from: their keys, the newest of each, and the stream that carries them between hosts."""
