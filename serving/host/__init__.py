"""The processes of one scorer: a supervisor, its workers, and what they say to each other."""
