"""Images leave: as an OCI layout, a tar for ``docker load``, or the plain files of their root."""
