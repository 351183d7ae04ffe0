"""Where no namespace is to be had: a command in a tree of its own by chroot(2), and all that is put there by hand."""
