"""Many trials: planned, run where there is room, searched over."""
