"""The tests: no GPU, no network and no data set is needed. Start with `make check`."""
