"""Polynomials of third degree that change linearly along a row of pixels from one node to the next."""

from steps.core.compiled import helper


@helper(cache=True, nogil=True, fastmath={"contract"})
def along_cell(left, right, k, step):
    """Return four coefficients at a cell's left edge and their change per pixel, as scalars.

    Scalars, because the compiler has to fear that an array overlaps the output.

    Parameters
    ----------
    left, right
        Numbers of the nodes at the cell's edges, shape (n,), float32.
    k
        Where the coefficients, of powers 0 to 3, begin in them.
    step
        One over the cell's width in pixels, float32.
    """
    return (
        (left[k], left[k + 1], left[k + 2], left[k + 3]),
        (
            (right[k] - left[k]) * step,
            (right[k + 1] - left[k + 1]) * step,
            (right[k + 2] - left[k + 2]) * step,
            (right[k + 3] - left[k + 3]) * step,
        ),
    )


@helper(cache=True, nogil=True, fastmath={"contract"})
def value_at(polynomial, t, x):
    """Return the value of a polynomial of `along_cell` at the number `x`, `t` pixels from the cell's left edge."""
    c, d = polynomial
    return (c[0] + d[0] * t) + x * ((c[1] + d[1] * t) + x * ((c[2] + d[2] * t) + x * (c[3] + d[3] * t)))
