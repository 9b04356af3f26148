"""Answers requests: transports, the feature table, workers and their supervisor.

Never imports `training` or `monitoring`.
"""
