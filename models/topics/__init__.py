"""Topics of documents: latent Dirichlet allocation, and topics by a network."""
