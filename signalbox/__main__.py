"""`python -m signalbox`: the command line, for whoever has no console scripts."""

from signalbox.cli.main import signalbox

if __name__ == "__main__":
    signalbox()
