# SPDX-License-Identifier: Apache-2.0
"""Quantities and formulas, computed a second time with plain arithmetic: powers of ten, and the published equations.

For `builders.reevaluation`. Imports nothing of MedAgent. A unit that is not a matter of powers of ten is `Open`.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from builders.plain_chart import Json, Open

# Quantities.

_PREFIX = {"k": 3, "": 0, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
_METRIC = re.compile(r"([kdcmunpf]?)(mol|g|L|m)")
_SPELLINGS = {"mmhg": "mm[Hg]", "gm/dl": "g/dL", "years": "a", "kg/m²": "kg/m2", "lb": "[lb_av]", "in": "[in_i]"}
_EXACT = {"[lb_av]": ("kg", Decimal("0.45359237")), "[in_i]": ("m", Decimal("0.0254"))}
_PER_MOLE = {"creatinine": Decimal("113.12")}  # g/mol


def unit_of(quantity: Json) -> str:
    """The unit as UCUM writes it, as far as it is known here."""
    unit = str(quantity.get("code") or quantity.get("unit") or "").strip().replace("µ", "u").replace("μ", "u")
    unit = re.sub(r"\b([dmu]?)l\b", r"\1L", unit)
    return _SPELLINGS.get(unit.lower(), unit)


def amounts(quantity: Json, unit: str, analyte: str | None = None) -> tuple[Decimal, Decimal]:
    """The least and the greatest value that a quantity may have, in a unit."""
    number = quantity.get("value")
    if not isinstance(number, int | Decimal) or isinstance(number, bool):
        raise Open("no number")
    exact = Decimal(number) * factor(unit_of(quantity), unit_of({"code": unit}), analyte)
    comparator = quantity.get("comparator")
    low = Decimal("-Infinity") if comparator in ("<", "<=") else exact
    high = Decimal("Infinity") if comparator in (">", ">=") else exact
    return low, high


def factor(origin: str, target: str, analyte: str | None) -> Decimal:
    """By what a number is multiplied. Open where it is not a matter of powers of ten."""
    if origin == target:
        return Decimal(1)
    if origin in _EXACT:
        base, size = _EXACT[origin]
        return size * factor(base, target, analyte)
    first, second = (_scaled(unit) for unit in (origin, target))
    if [kind for kind, _ in first] == [kind for kind, _ in second]:
        return _size(first) / _size(second)
    if [kind for kind, _ in first][:1] == ["mol"] and second[0][0] == "g" and analyte in _PER_MOLE:
        return _size(first) / _size(second) * _PER_MOLE[analyte]
    raise Open(f"{origin} in {target}")


def _scaled(unit: str) -> list[tuple[str, int]]:
    parts = [_METRIC.fullmatch(part) for part in unit.split("/")]
    if not all(parts):
        raise Open(f"{unit} is not known here")
    return [(part[2], _PREFIX[part[1]]) for part in parts if part is not None]


def _size(scaled: list[tuple[str, int]]) -> Decimal:
    (_, above), *below = scaled
    return Decimal(10) ** (above - sum(power for _, power in below))


# Formulas.


def _ckd_epi_2021(of: Mapping[str, float], is_female: bool) -> float:
    """Inker 2021, doi:10.1056/NEJMoa2102953."""
    kappa, alpha, sex = (0.7, -0.241, 1.012) if is_female else (0.9, -0.302, 1.0)
    ratio = of["creatinine"] / kappa
    return float(142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938 ** of["age"] * sex)


def _cockcroft_gault(of: Mapping[str, float], is_female: bool) -> float:
    """Cockcroft 1976, doi:10.1159/000180580."""
    return (140 - of["age"]) * of["weight"] / (72 * of["creatinine"]) * (0.85 if is_female else 1)


FORMULAS: Mapping[str, Callable[[Mapping[str, float], bool], float]] = {
    "ckd-epi-2021": _ckd_epi_2021,
    "cockcroft-gault": _cockcroft_gault,
    "body-mass-index": lambda of, _: of["weight"] / of["height"] ** 2,
    "pack-years": lambda of, _: of["packs_per_day"] * of["years"],
}
UNITS: Mapping[str, str] = {"creatinine": "mg/dL", "weight": "kg", "height": "m"}
"""In which an input goes in."""
STEPS: Mapping[str, float] = {"ckd-epi-2021": 1, "cockcroft-gault": 1, "body-mass-index": 0.1, "pack-years": 0.1}
"""To what the result is rounded."""
