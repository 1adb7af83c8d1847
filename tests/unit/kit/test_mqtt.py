from __future__ import annotations

import logging

import pytest

from kit.mqtt import LibraryWords


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("mqtt", logging.ERROR, "", 0, text, None, None)


def test_words_of_the_library_about_a_socket_stand_beside_the_next_error_and_nowhere_else() -> None:
    words = LibraryWords()
    assert words.filter(line("failed to receive on socket: certificate revoked")) is False
    assert words.beside(TimeoutError("timed out")) == "timed out; failed to receive on socket: certificate revoked"
    assert words.beside(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize("text", ["", "Caught exception in on_message: failed to x"])
def test_other_words_of_the_library_are_logged_as_they_are(text: str) -> None:
    words = LibraryWords()
    assert words.filter(line(text)) is True
    assert words.beside(ValueError("no")) == "no"
