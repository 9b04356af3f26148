"""Out-of-sample scores to daily net returns, by the same code that judges the live signal (design D12)."""
