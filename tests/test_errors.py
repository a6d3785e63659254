"""What an error's text says."""

from __future__ import annotations

import pytest

from dd_assets.errors import InputError, UnknownNameError, cause_in


def test_a_few_known_names_are_all_listed() -> None:
    assert str(UnknownNameError.of("dataset", "digit", ["mnist", "digits"])) == (
        "unknown dataset 'digit' → did you mean 'digits'? known: digits, mnist"
    )


def test_what_else_helps_comes_last() -> None:
    for count in (2, 40):
        known = [f"method{number}" for number in range(count)]
        assert str(UnknownNameError.of("method", "mine", known, "install it")).endswith("; install it")


def test_of_some_dozens_of_names_the_nearest_are_enough() -> None:
    known = [f"method{number}" for number in range(47)]
    text = str(UnknownNameError.of("method", "method5x", known))
    assert "47 are known, the nearest: method5" in text
    assert len(text) < 200


def test_of_many_known_names_only_the_nearest() -> None:
    known = [f"method{number}/soft_labels" for number in range(300)] + ["sre2l/score"]
    text = str(UnknownNameError.of("asset", "sre2l/scor", known))
    assert "did you mean 'sre2l/score'? 301 are known, the nearest: sre2l/score" in text
    assert len(text) < 300
    assert "301 are known, such as method0/soft_labels, method1/" in str(UnknownNameError.of("asset", "xyz", known))


def test_what_a_text_repeats_is_cut_after_it_is_written_out() -> None:
    # A character that is not printable takes up to ten.
    assert len(str(InputError("\U000e0001" * 1900, "remove it"))) < 2100


def test_an_error_of_others_code_names_its_deepest_line_there() -> None:
    with pytest.raises(IndexError) as caught:
        _first_line_of("")
    line = _first_line_of.__code__.co_firstlineno + 1
    assert cause_in(__name__, caught.value) == f"{__file__}:{line}: IndexError: list index out of range"
    assert cause_in("elsewhere", caught.value) == "IndexError: list index out of range"


def test_a_syntax_error_names_the_file_that_has_it() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("x = (\n", "theirs.py", "exec")
    assert cause_in("elsewhere", caught.value).startswith("theirs.py:1: SyntaxError: ")


def _first_line_of(text: str) -> str:
    return text.splitlines()[0]
