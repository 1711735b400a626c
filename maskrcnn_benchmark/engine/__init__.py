"""Training loop, evaluation loop and prediction on images of any size."""
