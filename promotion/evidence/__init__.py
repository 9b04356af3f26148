"""Pure statistics on scores, returns and trials: backtest, gates and monitors share them."""
