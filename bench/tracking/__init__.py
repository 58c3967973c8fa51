"""Experiment trackers: `bench run --log tensorboard,mlflow` sends the curves of trials to them."""
