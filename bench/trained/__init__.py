"""What can be done with a trained method: search, compare, export, test on other data."""
