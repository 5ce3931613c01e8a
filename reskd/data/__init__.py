"""From video files to uint8 crops: annotations, manifest, sampling, decoding, geometry, loaders."""
