"""The features that ship with Signalbox: one pure function and one declaration each."""
