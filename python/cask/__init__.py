"""cask: Dask's distributed scheduler in C; this package is its Python side."""
