"""One trainer a file; others' come in by the entry point `signalbox.trainers`."""
