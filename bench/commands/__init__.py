"""The commands of `bench`: options, what they print; `bench/cli.py` puts them together."""
