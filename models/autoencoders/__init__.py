"""Deep latent-variable models: a decoder network, and a guide that reads the data."""
