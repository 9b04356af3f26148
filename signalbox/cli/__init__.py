"""Commands: parse, call, print. Rooms are imported when a command runs, so that `--help` stays fast."""
