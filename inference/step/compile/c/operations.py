"""Elementwise ATen operations as C expressions."""

from __future__ import annotations

__all__ = ["CTYPES", "LIBRARIES", "PRELUDE", "Unsupported", "constant", "elementwise"]

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

CTYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "long",
    torch.int32: "int",
    torch.uint8: "unsigned char",
    torch.bool: "unsigned char",
}


_FUNCTIONS = """
static inline T larger_T(T a, T b) { return a > b || a != a ? a : b; }
static inline T smaller_T(T a, T b) { return a < b || a != a ? a : b; }
"""
_FLOATING = """
static inline T log1p_T(T x) { T u = 1 + x; return u == 1 ? x : isinf(u) && u > 0 ? u : logF(u) * (x / (u - 1)); }
static inline T square_T(T x) { return x * x; }
static inline T sign_T(T x) { return (T)((x > 0) - (x < 0)); }
static inline T sigmoid_T(T x) { return 1 / (1 + expF(-x)); }
static inline T sigmoid_slope_T(T g, T y) { return g * y * (1 - y); }
static inline T tanh_slope_T(T g, T y) { return g * (1 - y * y); }
static inline T log_sigmoid_T(T x) { return smaller_T(x, 0) - log1p_T(expF(-fabsF(x))); }
static inline T log_sigmoid_slope_T(T g, T x) { T e = expF(-fabsF(x)); return g * ((x < 0 ? 1 : e) / (1 + e)); }
static inline T softplus_T(T x, T most) { T y = log1p_T(expF(x)); return x > most ? x : y; }
static inline T softplus_slope_T(T g, T x, T most) { T y = g * sigmoid_T(x); return x > most ? g : y; }
static inline T lerp_T(T a, T b, T w) { return w < (T)0.5 ? a + w * (b - a) : b - (b - a) * (1 - w); }
static inline T xlogy_T(T a, T b) { return b != b ? b : a == 0 ? 0 : a * logF(b); }
static inline T digamma_T(T x) {
    double t = x, sum = 0;
    if (t == 0) return copysign(HUGE_VAL, -x);
    if (t < 0) {
        if (t == floor(t)) return NAN;
        sum = -3.14159265358979323846 / tan(3.14159265358979323846 * (t - floor(t)));
        t = 1 - t;
    }
    while (t < 10) { sum -= 1 / t; t += 1; }
    double r = 1 / (t * t);
    double tail = r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 - r * (691.0 / 32760
        - r / 12))))));
    return sum + log(t) - 0.5 / t - tail;
}
static inline T finite_T(T x, T none, T above, T below) { return x != x ? none : isinf(x) ? x > 0 ? above : below : x; }
static inline T logaddexp_T(T a, T b) {
    T m = larger_T(a, b);
    return a == b && isinf(a) ? a : m + log1p_T(expF(-fabsF(a - b)));
}
"""
_PLACES = """
static inline int inside(long i, long size) { return i >= -size && i < size; }
static inline long wrapped(long i, long size) { return i < 0 ? i + size : i; }
"""
PRELUDE = f"#include <math.h>\n{_PLACES}" + "".join(
    text.replace("T", kind).replace("F(", suffix)
    for kind, suffix, text in (
        ("long", "", _FUNCTIONS),
        ("int", "", _FUNCTIONS),
        ("float", "f(", _FUNCTIONS + _FLOATING),
        ("double", "(", _FUNCTIONS + _FLOATING),
    )
)

_GEMM = """
void (*gemm_KIND)(const char*, const char*, const long*, const long*, const long*, const KIND*, const KIND*,
                  const long*, const KIND*, const long*, const KIND*, KIND*, const long*);
static void product_KIND(long n, long m, long k, const KIND* a, long la, int ta, const KIND* b, long lb, int tb,
                         KIND* c) {
    const KIND one = 1, zero = 0;  /* the library goes by columns: c' = b' a' */
    gemm_KIND(tb ? "T" : "N", ta ? "T" : "N", &m, &n, &k, &one, b, &lb, a, &la, &zero, c, &m);
}
"""
LIBRARIES = {f"gemm_{kind}": _GEMM.replace("KIND", kind) for kind in ("float", "double")}  # by what they must point to


class Unsupported(Exception):
    """A graph has something for which there is no C code."""


def constant(number: Any, dtype: torch.dtype) -> str:
    """A number as a C literal of a type."""
    if dtype not in CTYPES or isinstance(number, complex):
        raise Unsupported(f"a constant {number!r} of type {dtype}")
    if not dtype.is_floating_point:
        whole = int(bool(number)) if dtype == torch.bool else int(number)
        return f"{whole}L" if dtype == torch.int64 else str(whole)
    number = float(number)
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number!r}{'f' if dtype == torch.float32 else ''}"


def _f(name: str) -> Callable[..., str]:
    return lambda t, *args: f"{name}{'f' if t == 'float' else ''}({', '.join(args)})"


def _operator(sign: str) -> Callable[..., str]:
    return lambda t, a, b: f"({a} {sign} {b})"


def _one(t: str) -> str:
    return "1.0f" if t == "float" else "1.0"


_sqrt = _f("sqrt")


def _own(name: str) -> Callable[..., str]:
    return lambda t, *args: f"{name}_{t}({', '.join(args)})"


# (type, operands) -> expression. Operands are of the result's type, unless the operation is in `_OF_INPUTS`.
_PLAIN: dict[str, Callable[..., str]] = {
    "mul": _operator("*"),
    "neg": lambda t, x: f"(-({x}))",
    "abs": lambda t, x: _f("fabs")(t, x) if t != "long" else f"labs({x})",
    "exp": _f("exp"),
    "expm1": _f("expm1"),
    "log": _f("log"),
    "log1p": _own("log1p"),
    "sqrt": _sqrt,
    "rsqrt": lambda t, x: f"({_one(t)} / {_sqrt(t, x)})",
    "reciprocal": lambda t, x: f"({_one(t)} / ({x}))",
    "square": _own("square"),
    "sin": _f("sin"),
    "cos": _f("cos"),
    "tan": _f("tan"),
    "atan": _f("atan"),
    "erf": _f("erf"),
    "erfc": _f("erfc"),
    "lgamma": _f("lgamma"),
    "floor": _f("floor"),
    "ceil": _f("ceil"),
    "tanh": _f("tanh"),
    "sigmoid": _own("sigmoid"),
    "relu": lambda t, x: f"larger_{t}({x}, 0)",
    "sign": _own("sign"),
    "sgn": _own("sign"),
    "log_sigmoid_forward": _own("log_sigmoid"),
    "log_sigmoid_backward": _own("log_sigmoid_slope"),
    "maximum": _own("larger"),
    "minimum": _own("smaller"),
    "lerp": _own("lerp"),
    "logaddexp": _own("logaddexp"),
    "clone": lambda t, x: x,
    "lift_fresh_copy": lambda t, x: x,
    "_to_copy": lambda t, x: x,
    "detach": lambda t, x: x,
    "alias": lambda t, x: x,
    "copy": lambda t, target, source: source,
    "fill": lambda t, target, number: number,
    "sigmoid_backward": _own("sigmoid_slope"),
    "tanh_backward": _own("tanh_slope"),
    "xlogy": _own("xlogy"),
    "digamma": _own("digamma"),
    "logical_and": lambda t, a, b: f"(({a}) && ({b}))",
    "logical_or": lambda t, a, b: f"(({a}) || ({b}))",
    "logical_not": lambda t, x: f"(!({x}))",
}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TESTS = {"isnan": "isnan({0})", "isinf": "isinf({0})"}
_BITS = {"bitwise_and": "&", "bitwise_or": "|"}


def elementwise(
    name: str, arguments: list[Any], options: Mapping[str, Any], dtype: torch.dtype, kinds: list[torch.dtype | None]
) -> str | None:
    """The C expression of ``aten.<name>(*arguments, **options)`` with a result of `dtype`; None for other operations.

    Args:
        name: of the operation, without its overload.
        arguments: C expressions (of tensors), numbers, and other values.
        options: numbers.
        dtype: of the result.
        kinds: number types of the arguments, None for those that are no tensors.
    """
    if dtype not in CTYPES:
        raise Unsupported(f"numbers of type {dtype}")
    t = CTYPES[dtype]

    def cast(position: int, to: torch.dtype = dtype) -> str:
        value = arguments[position]
        if not isinstance(value, str):
            return constant(value, to)
        if kinds[position] == to:
            return value
        return f"(({value}) != 0)" if to == torch.bool else f"(({CTYPES[to]})({value}))"

    if name in _COMPARISONS or name in _TESTS:
        types = [kind for kind in kinds if kind is not None]
        common = types[0] if len(types) == 1 else torch.promote_types(*types[:2])
        if not common.is_floating_point and any(isinstance(a, float) for a in arguments):
            common = torch.float64
        if name in _TESTS:
            return _TESTS[name].format(cast(0, common))
        return f"({cast(0, common)} {_COMPARISONS[name]} {cast(1, common)})"
    if name in ("logical_and", "logical_or", "logical_not"):
        return _PLAIN[name](t, *(cast(i, torch.bool) for i in range(len(kinds))))
    if dtype == torch.bool and name in (*_BITS, "bitwise_not"):
        return f"(!{cast(0)})" if name == "bitwise_not" else f"({cast(0)} {_BITS[name]} {cast(1)})"
    if name in ("add", "sub", "rsub"):
        alpha = options.get("alpha", arguments[2] if len(arguments) > 2 else 1)
        first, second = (cast(1), cast(0)) if name == "rsub" else (cast(0), cast(1))
        if alpha != 1:
            scaled = 0 if name == "rsub" else 1
            part = f"({constant(alpha, dtype)} * {cast(scaled)})"
            first, second = first, part
        return f"({first} {'+' if name == 'add' else '-'} {second})"
    if name == "div":
        if options.get("rounding_mode") is not None or not dtype.is_floating_point:
            raise Unsupported("a division that rounds")
        return f"({cast(0)} / {cast(1)})"
    if name == "pow":
        return _power(t, cast, arguments)
    if name == "where":
        return f"({cast(0, torch.bool)} ? {cast(1)} : {cast(2)})"
    if name == "masked_fill":
        return f"({cast(1, torch.bool)} ? {cast(2)} : {cast(0)})"
    if name in ("clamp", "clamp_min", "clamp_max"):
        return _clamp(t, name, arguments, options, cast)
    if name in ("addcmul", "addcdiv"):
        scale = constant(options.get("value", 1), dtype)
        return f"({cast(0)} + {scale} * {cast(1)} {'*' if name == 'addcmul' else '/'} {cast(2)})"
    if name == "nan_to_num":
        given = [*arguments[1:], None, None, None]
        none, above, below = given[:3]
        limits = torch.finfo(dtype)
        numbers = (none or 0.0, limits.max if above is None else above, limits.min if below is None else below)
        return f"finite_{t}({cast(0)}, {', '.join(constant(number, dtype) for number in numbers)})"
    if name == "log_sigmoid_backward":
        arguments = arguments[:2]
    if name in ("softplus", "softplus_backward"):
        return _softplus(name, t, cast, arguments)
    if name == "threshold_backward":
        return f"({cast(1)} <= {cast(2)} ? 0 : {cast(0)})"
    if name not in _PLAIN:
        return None
    if name in ("clone", "_to_copy", "detach", "alias", "lift_fresh_copy"):
        return cast(0)
    return _PLAIN[name](t, *(cast(i) for i in range(2 if name == "copy" else len(arguments))))


def _power(t: str, cast: Callable[..., str], arguments: list[Any]) -> str:
    exponent = arguments[1]
    if not isinstance(exponent, str):
        x = cast(0)
        simple = {0: _one(t), 1: x, 2: f"square_{t}({x})", -1: f"({_one(t)} / ({x}))"}
        if exponent in simple:
            return simple[exponent]
        if exponent == 0.5:
            return _sqrt(t, x)
    if t == "long":
        raise Unsupported("a power of integers")
    return _f("pow")(t, cast(0), cast(1))


def _clamp(t: str, name: str, arguments: list[Any], options: Mapping[str, Any], cast: Callable[..., str]) -> str:
    names = {"clamp": ("min", "max"), "clamp_min": ("min",), "clamp_max": ("max",)}[name]
    found = cast(0)
    for position, bound in enumerate(names, 1):
        if position < len(arguments):
            limit = None if arguments[position] is None else cast(position)
        else:
            limit = None if options.get(bound) is None else cast_number(options[bound], cast)
        if limit is not None:  # a bound of what is no number is no number
            found = f"{'larger' if bound == 'min' else 'smaller'}_{t}({found}, {limit})"
    return found


def cast_number(number: Any, cast: Callable[..., str]) -> str:
    """A bound that was passed by name, which must be a number."""
    if isinstance(number, str):
        raise Unsupported("a tensor as a bound that is passed by name")
    return repr(float(number)) if math.isfinite(number) else constant(number, torch.float64)


def _softplus(name: str, t: str, cast: Callable[..., str], arguments: list[Any]) -> str:
    first = 1 if name == "softplus" else 2
    beta, threshold = [*arguments[first:], *(1, 20)[len(arguments) - first :]][:2]
    x = cast(first - 1)
    if beta != 1:
        raise Unsupported("a softplus with another slope")
    if name == "softplus":
        return f"softplus_{t}({x}, {threshold})"
    return f"softplus_slope_{t}({cast(0)}, {x}, {threshold})"
