"""The starter backbone: a small two-tower CLIP, its weights, and how they were made."""
