"""One arm of a study: run, kept on disk under its fingerprint, found again."""
