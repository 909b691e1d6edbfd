"""Seeds derived from names: every stream of randomness in a run is a pure function of the run's one seed."""

from __future__ import annotations

__all__ = ["derive_seed"]

import hashlib
import operator

from .errors import ConfigurationError


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream `names` of the run `seed`.

    The first eight bytes of BLAKE2b over the decimal seed and the names (type and length included, so that
    ``("a", "b")`` and ``("ab",)`` differ), with the sign bit cleared. The same on every platform and Python version.

    Args:
        seed: the run's seed, any integer.
        names: what the stream is for, such as ``"epoch", 3``.

    Raises:
        ConfigurationError: if `seed` is no integer.

    Example:
        >>> derive_seed(0, "epoch", 3) == derive_seed(0, "epoch", 3)
        True
        >>> derive_seed(0, "epoch", 3) == derive_seed(0, "epoch", "3")
        False
    """
    try:
        number = operator.index(seed)
    except TypeError:
        raise ConfigurationError(f"`seed` must be a whole number, got {seed!r}.") from None
    digest = hashlib.blake2b(digest_size=8)
    for part in (number, *names):
        text = str(part).encode()
        kind = b"s" if isinstance(part, str) else b"i"
        digest.update(kind + len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest(), "little") >> 1
