"""Steps → snapshots: finished root file systems, each standing on its parent, as overlays or as copies."""
