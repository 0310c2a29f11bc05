"""Generators over batches of the model's own values, in constant memory: they see a VAE and batches, nothing else."""
