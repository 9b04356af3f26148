"""Makes models: samples, purged folds, trainers, sweeps, exports. Never imports `serving` or `monitoring`."""
