"""Where research and production meet: evidence, gates, releases and the ledger.

What lives here travels from a researcher's run to a live signal. Imports `features` and `protos` only.
"""
