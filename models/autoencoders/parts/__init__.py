"""What autoencoders are built of: networks, likelihoods, priors and posteriors."""
