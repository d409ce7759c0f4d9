"""Tasks as values, and the rows behind them."""
