"""Sizes of files for people."""


def write_size(size_bytes: int) -> str:
    """Two or three digits and a unit: ``1.7 MB``. A MB is 1,000,000 bytes, as in the listings of most systems."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
