"""The names of the recalls that records hold and reports show."""

KS = (1, 5, 10)
WAYS = ("i2t", "t2i")
METRICS = (*(f"{way}_R@{k}" for way in WAYS for k in KS), "mR")
"""R@K of image-to-text and text-to-image retrieval in percent, and mR, the mean of the six."""
