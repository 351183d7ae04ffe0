"""Pull and push: the OCI distribution protocol, its authentication, and credentials as Docker's users keep them."""
