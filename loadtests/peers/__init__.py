"""Other people's servers, each in an environment of its own, serving the same model or echoing the same bytes."""
