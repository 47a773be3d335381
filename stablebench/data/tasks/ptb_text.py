"""Penn Treebank tokens from text that a person writes, and back (see `ptb`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stablebench.data.files.ptb import END, Level
from stablebench.errors import UserError

UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Text:
    """How text becomes numbers of tokens, and numbers become text. The end of a sentence is the end of a line.

    Args:
        level: Words or characters.
        vocabulary: The tokens by their number.
    """

    level: Level
    vocabulary: Sequence[str]
    _numbers: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Number the tokens."""
        self._numbers.update({token: number for number, token in enumerate(self.vocabulary)})

    @property
    def end(self) -> int:
        """The number of the token that ends a sentence."""
        return self._numbers[END]

    def read(self, text: str) -> tuple[list[int], list[str]]:
        """Return the tokens of a text, and the words that became `<unk>`.

        Args:
            text: Words between white space, or characters of which a space is the token `_`. The end of a line, or
                `<eos>`, is the end of a sentence.

        Raises:
            UserError: A character is none of the tokens: unlike words, characters have none for the unknown.
        """
        if self.level == "char":
            return self._characters(text), []
        tokens = text.replace("\n", f" {END} ").split()
        unknown = [token for token in tokens if token not in self._numbers]
        return [self._numbers.get(token, self._numbers[UNKNOWN]) for token in tokens], list(dict.fromkeys(unknown))

    def _characters(self, text: str) -> list[int]:
        characters = text.replace(END, "\n").replace(" ", "_")
        tokens = [END if character == "\n" else character for character in characters]
        strange = dict.fromkeys(token for token in tokens if token not in self._numbers)
        if strange:
            known = "".join(token for token in sorted(self._numbers) if token != END)
            raise UserError(f"--prompt: {' '.join(strange)} must be among the characters of the text: {known}")
        return [self._numbers[token] for token in tokens]

    def write(self, numbers: Sequence[int]) -> str:
        """Return tokens as text, a sentence a line."""
        tokens = [self.vocabulary[number] for number in numbers]
        if self.level == "char":
            return "".join({END: "\n", "_": " "}.get(token, token) for token in tokens)
        return " ".join("\n" if token == END else token for token in tokens).replace(" \n", "\n").replace("\n ", "\n")
