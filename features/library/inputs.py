"""What the library's features read, the real data that each is tested on, and what many declare alike."""

from __future__ import annotations

from functools import partial

from features.definition import feature

OWNER = "research"

OPEN = "open_adjusted_final"
HIGH = "high_adjusted_final"
LOW = "low_adjusted_final"
CLOSE = "close_adjusted_final"
RAW_CLOSE = "close"  # as it was traded, in currency
VOLUME = "volume"  # units traded in the session, as they were traded
INDEX = "index_close"  # of the index that the instruments are measured against, the same for all of them
SHARES = "shares_outstanding"
SECTOR = "sector"  # a number that is the same for the members of a sector
BID, ASK, BID_SIZE, ASK_SIZE = "bid", "ask", "bid_size", "ask_size"

STOCKS = "skfolio: daily closes of 20 US stocks, 1990 to 2022"
STOCKS_AND_INDEX = "skfolio: daily closes of 20 US stocks and of the S&P 500, 1990 to 2022"
INDICES = "arch: daily bars with volume of the S&P 500 and the NASDAQ Composite, 1999 to 2018"
STOCKS_IN_SECTORS = "skfolio: daily closes of 20 US stocks, 1990 to 2022; their sectors are written in the test"
GENERATED = "generated: no package used here ships such data"

of_closes = partial(feature, inputs=(CLOSE,), owner=OWNER, tested_on=STOCKS)
of_bars = partial(feature, owner=OWNER, tested_on=INDICES)
