"""Watches answers: drift and realised performance become verdicts, verdicts become less capital.

Never imports `training` or `serving`.
"""
