"""The commands of `bench`, with their options and output; `bench/cli.py` puts them together."""
