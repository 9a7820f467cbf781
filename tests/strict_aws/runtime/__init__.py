"""Files that run inside the function's process, not in the fake's: see `runtime_dir`."""
