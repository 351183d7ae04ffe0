"""What survives a crash: blobs, records of what steps gave, names of images, and temporary files.

    ~/.local/share/pybuild/
      version                                 "pybuild store 1"; written last when a store is made
      blobs/sha256/<hex>                      content by digest; durable, read-only, never changed
      records/<2 hex>/<step hex>/<inputs hex> what a step gave for these inputs      } sealed: a checksum and JSON;
      layers/<snapshot id>                    diff id, blob and size of its layer    } written without fsync, and
      memory/<hex>                            hashes of a context's files            } as if absent when cut short
      images.json                             names → descriptors; replaced durably under locks/images
      containers/<id>                         what ``run`` left: how it ended, and which snapshot its root is
      locks/<name>                            flock(2); the files stay, the locks die with their holders
      tmp/<random>/                           one folder per writing process, flocked while it lives
      snapshots/<key>/                        the snapshotters' own

Who builds never waits for another that builds: ``locks/use`` is shared by all, and only a ``prune`` that finds nobody
else has it alone, while it removes. Files appear by rename, whole; whoever reads sees the old or the new. Removing is
for ``prune``, which else spares what was wanted lately or is held by a living process.
"""

from builder.store.blobs import Blobs, BlobWriter
from builder.store.images import Images, StoredImage
from builder.store.layers import LayerInfo, Layers
from builder.store.records import Record, Records
from builder.store.store import Store

__all__ = ["BlobWriter", "Blobs", "Images", "LayerInfo", "Layers", "Record", "Records", "Store", "StoredImage"]
