"""What several test files share; `from tests.helpers.close import close`."""
