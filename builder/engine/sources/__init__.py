"""Where files come from: contexts, roots of stages and images, archives, URLs, git; one face for them all."""
