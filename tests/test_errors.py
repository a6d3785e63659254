"""What an error's text says."""

from __future__ import annotations

from dd_assets.errors import InputError, UnknownNameError


def test_a_few_known_names_are_all_listed() -> None:
    assert str(UnknownNameError.of("dataset", "digit", ["mnist", "digits"])) == (
        "unknown dataset 'digit' → did you mean 'digits'? known: digits, mnist"
    )


def test_of_many_known_names_only_the_nearest() -> None:
    known = [f"method{number}/soft_labels" for number in range(300)] + ["sre2l/score"]
    text = str(UnknownNameError.of("asset", "sre2l/scor", known))
    assert "did you mean 'sre2l/score'? 301 are known, the nearest: sre2l/score" in text
    assert len(text) < 300
    assert "301 are known, such as method0/soft_labels, method1/" in str(UnknownNameError.of("asset", "xyz", known))


def test_what_a_text_repeats_is_cut_after_it_is_written_out() -> None:
    # A character that is not printable takes up to ten.
    assert len(str(InputError("\U000e0001" * 1900, "remove it"))) < 2100
