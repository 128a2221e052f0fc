"""English words without their endings, so that "flows", "flowing" and "flow" are one word.

Five steps of rules of the form *ending → other ending*, of which one applies if what is left before it is long enough:
its *measure* is how often vowels are followed by consonants in it.

References:
    Porter, An algorithm for suffix stripping, 1980 (as its author's programs do it).
"""

from __future__ import annotations

import functools

_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_FOURTH = ("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate",
           "iti", "ous", "ive", "ize")  # fmt: skip


@functools.lru_cache(100_000)
def stem(word: str) -> str:
    """
    >>> [stem(word) for word in ("flows", "flowing", "ponies", "relational", "heated", "gas", "boundary")]
    ['flow', 'flow', 'poni', 'relat', 'heat', 'ga', 'boundari']
    """
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    word = _past(_plural(word))
    if word.endswith("y") and _vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(_replaced(word, _SECOND), _THIRD)
    ending = max((e for e in _FOURTH if word.endswith(e)), key=len, default="")
    if ending:
        left = word[: -len(ending)]
        if _measure(left) > 1 and (ending != "ion" or left.endswith(("s", "t"))):
            word = left
    if word.endswith("e"):
        left = word[:-1]
        if (m := _measure(left)) > 1 or (m == 1 and not _short(left)):
            word = left
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            left = word[: -len(ending)]
            if not _vowel(left):
                return word
            if left.endswith(("at", "bl", "iz")):
                return left + "e"
            if len(left) > 1 and left[-1] == left[-2] and _kinds(left)[-1] == "c" and left[-1] not in "lsz":
                return left[:-1]
            return left + "e" if _measure(left) == 1 and _short(left) else left
    return word


def _replaced(word: str, rules: dict[str, str]) -> str:
    ending = max((e for e in rules if word.endswith(e)), key=len, default="")
    if ending and _measure(word[: -len(ending)]) > 0:
        return word[: -len(ending)] + rules[ending]
    return word


def _kinds(word: str) -> str:
    """c and v for every letter; y is a vowel behind a consonant."""
    kinds, before = [], False
    for letter in word:
        before = letter not in "aeiou" and not (letter == "y" and before)
        kinds.append("c" if before else "v")
    return "".join(kinds)


def _measure(word: str) -> int:
    return _kinds(word).count("vc")


def _vowel(word: str) -> bool:
    return "v" in _kinds(word)


def _short(word: str) -> bool:
    """Ends as "hop" does, not as "how"."""
    return _kinds(word).endswith("cvc") and word[-1] not in "wxy"
