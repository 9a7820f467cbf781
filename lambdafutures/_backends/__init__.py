"""Where calls run: the ports (`base`) and what stands behind them."""
