"""The methods, one a file: EM, CAVI, minimisation of a loss, and SVI in its folder."""
