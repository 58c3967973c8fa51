"""What several test files share: made records, trained methods, towers, servers, tolerances.

Used as `from tests.helpers import fake_records` and `from tests.helpers.close import close`.
"""
