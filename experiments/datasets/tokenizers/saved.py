"""What the JSON files of tokenisers hold."""

from typing import TypedDict


class Words(TypedDict):
    """Of a `WordVocabulary`: its words, without the special tokens."""

    words: list[str]


class Characters(TypedDict):
    """Of a `CharacterTokenizer`."""

    characters: str


class Bytes(TypedDict):
    """Of a `KnownByteTokenizer`."""

    bytes: list[int]
