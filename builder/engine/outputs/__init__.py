"""What a build leaves: images put together, named, packed and written wherever they were asked for."""
