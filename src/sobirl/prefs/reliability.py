"""How often labellers err, from pairs that were judged more than once, and what follows."""

import math
from collections.abc import Iterable, Sequence

_MISTAKES, _RIGHT = 1.0, 19.0  # the Beta prior of a mistake rate: 5 %, worth 20 answers
_PASSES = 50
_LEAST = 1e-3


def mistake_rates(answers: Iterable[tuple[int, str, float | int | None]]) -> dict[str, float]:
    """The rate p at which each labeller says the opposite, a posterior mode found by EM.

    A pair has one right answer, each as likely, and every answer to it is wrong by itself with the
    rate of its labeller, those to hidden repeats included. Only pairs that were judged twice or
    more, by one or by several people, say anything; without any, the rate is the prior's 5 %.

    Args:
        answers: question, labeller, and the value 1 or 0; others count for nothing.

    Source: Dawid and Skene (1979), with one rate a labeller.
    """
    by_question: dict[int, list[tuple[str, int]]] = {}
    rates: dict[str, float] = {}
    for question, labeller, value in answers:
        rates[labeller] = _MISTAKES / (_MISTAKES + _RIGHT)
        if value in (0, 1):
            by_question.setdefault(question, []).append((labeller, int(value)))
    judged = [given for given in by_question.values() if len(given) > 1]
    for _ in range(_PASSES if judged else 0):
        wrong = dict.fromkeys(rates, _MISTAKES)
        total = dict.fromkeys(rates, _MISTAKES + _RIGHT)
        for given in judged:
            first = _posterior([(value, rates[who]) for who, value in given])
            for who, value in given:
                wrong[who] += 1 - first if value else first
                total[who] += 1
        rates = {who: min(max(wrong[who] / total[who], _LEAST), 0.5) for who in rates}
    return rates


def combined(answers: Sequence[tuple[float | int | None, float | int]]) -> float | None:
    """The probability that the first is preferred, by all who judged a pair.

    With rates of 0 it is the mean of what they said. Otherwise it is the posterior after answers 1
    and 0, and where some said something between, the mean of (1 - 2p) value + p.

    Args:
        answers: value and mistake rate of each; None where someone could not tell.
    """
    told = [(value, rate) for value, rate in answers if value is not None]
    if not told:
        return None
    decided = all(value in (0, 1) for value, _ in told)
    if decided and all(rate > 0 for _, rate in told):
        return _posterior(told)
    return sum((1 - 2 * rate) * value + rate for value, rate in told) / len(told)


def agreement(pairs: Iterable[tuple[float | int | None, float | int | None]]) -> tuple[int, int]:
    """In how many of these pairs of answers both are the same, and how many there are."""
    told = [(one, other) for one, other in pairs if one is not None and other is not None]
    return sum(one == other for one, other in told), len(told)


def _posterior(answers: Sequence[tuple[float | int, float | int]]) -> float:
    logit = sum(
        (1 if value else -1) * math.log((1 - max(rate, _LEAST)) / max(rate, _LEAST))
        for value, rate in answers
    )
    return 1 / (1 + math.exp(-logit))
