"""What is served, watched: the request log, drift against training, and who answers. Without torch."""
